"""Classify one picture with a stock client of the Open Inference Protocol, Triton's, and nothing of mpcvit.

    pip install 'tritonclient[grpc]' pillow
    python open_inference.py ship.jpg --manifest manifest.json --tls tls --role alice.client \
        --party party0.example:8443 --party party1.example:8443

The picture is shared here: each party gets numbers that are random by themselves, and answers with a share of the
logits. ``manifest.json`` is the public description of the model, from its owner: it has the labels, and parties that
hold another model refuse. ``--tls`` holds ``ca.crt``, and the client's ``ROLE.crt`` and ``ROLE.key``.

Install it in an environment without mpcvit's parties: Triton's client and they define the same protobuf package.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult

#: Seconds that a session may take.
DEADLINE_S = 60


def connect(address: str, party: int, tls: Path, role: str) -> InferenceServerClient:
    """Return a connection on which only the certificate of this party is accepted."""
    return InferenceServerClient(
        address,
        ssl=True,
        root_certificates=str(tls / "ca.crt"),
        private_key=str(tls / f"{role}.key"),
        certificate_chain=str(tls / f"{role}.crt"),
        # the name that the certificate must have; and parties are called directly, not through a browser's proxy
        channel_args=[("grpc.ssl_target_name_override", f"party{party}.mpcvit"), ("grpc.enable_http_proxy", 0)],
    )


def split(codes: np.ndarray, parties: int) -> list[np.ndarray]:
    """Return one int64 array per party, all but the last uniform: they add up to ``codes`` mod 2^64."""
    masks = [
        np.frombuffer(secrets.token_bytes(codes.nbytes), dtype=np.int64).reshape(codes.shape)
        for _ in range(parties - 1)
    ]
    return [*masks, codes - sum(masks)]


def infer(clients: list[InferenceServerClient], pixels: np.ndarray, manifest: dict[str, Any], pin: str) -> np.ndarray:
    """Return the logits of ``pixels``, uint8 [height, width, 3].

    Args:
        pin: SHA-256 of the manifest, hex digits: parties that hold another model refuse.
    """
    parameters = {
        "session_id": secrets.token_hex(16),
        "manifest_sha256": pin,
        "expires_at": int(time.time()) + DEADLINE_S,
    }
    shares = split(pixels.transpose(2, 0, 1).astype(np.int64), len(clients))

    def ask(party: int) -> InferResult:
        share = InferInput("pixels_share", list(shares[party].shape), "INT64")
        share.set_data_from_numpy(np.ascontiguousarray(shares[party]))
        return clients[party].infer(
            manifest["name"],
            [share],
            model_version=manifest["version"],
            parameters={**parameters, "share_index": party},
            client_timeout=DEADLINE_S,
        )

    with ThreadPoolExecutor(len(clients)) as pool:  # a party waits until all have their shares
        answers = list(pool.map(ask, range(len(clients))))
    return joined(answers)


def joined(answers: list[InferResult]) -> np.ndarray:
    """Return the logits that the parties' shares add up to, if they are any."""
    responses = [answer.get_response() for answer in answers]
    scale = responses[0].outputs[0].parameters
    if len({response.parameters["guard_digest"].string_param for response in responses}) != 1:
        raise ValueError("no answer: this picture takes the model out of its range")
    total = np.sum([answer.as_numpy("logits_share") for answer in answers], axis=0)
    logits = total / 2.0 ** scale["fraction_bits"].int64_param
    if logits.min() < scale["lowest"].double_param or logits.max() > scale["highest"].double_param:
        raise ValueError("no answer: these are no logits of the model")
    return logits


def main() -> None:
    """Read, share, ask, print the three likeliest labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--manifest", type=Path, required=True, help="the model's manifest.json")
    parser.add_argument("--tls", type=Path, required=True, help="folder with ca.crt, ROLE.crt and ROLE.key")
    parser.add_argument("--role", required=True, help="the client's name in these, e.g. alice.client")
    parser.add_argument("--party", action="append", required=True, help="host:port of a party; party 0 first")
    arguments = parser.parse_args()
    raw = arguments.manifest.read_bytes()
    manifest = json.loads(raw)
    _, height, width = manifest["input_shape"]
    pixels = np.asarray(Image.open(arguments.picture).convert("RGB").resize((width, height)))
    clients = [connect(address, party, arguments.tls, arguments.role) for party, address in enumerate(arguments.party)]
    logits = infer(clients, pixels, manifest, hashlib.sha256(raw).hexdigest())
    for client in clients:
        client.close()
    powers = np.exp(logits - logits.max())
    for label in np.argsort(-logits)[:3]:
        print(f"{manifest['labels'][label]:12} {powers[label] / powers.sum():.4f}")


if __name__ == "__main__":
    main()
