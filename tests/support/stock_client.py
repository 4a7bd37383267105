"""A program for an environment with Triton's client and without mpcvit: drives both parties, prints JSON.

python stock_client.py FOLDER_OF_EXAMPLES PICTURE MANIFEST TLS_FOLDER ROLE PARTY0 PARTY1
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

examples, picture, manifest_file, tls, role, *addresses = sys.argv[1:]
sys.path.insert(0, examples)

import open_inference  # noqa: E402


def facts(client: InferenceServerClient, name: str) -> list[Any]:
    """What a party says of itself and of the model."""
    model = client.get_model_metadata(name, as_json=True)
    return [
        client.is_server_live(),
        client.is_server_ready(),
        client.is_model_ready(name),
        client.get_server_metadata(as_json=True)["extensions"],
        [[tensor["name"], tensor["datatype"], tensor["shape"]] for tensor in model["inputs"]],
    ]


def refusal(client: InferenceServerClient, name: str, shape: list[int]) -> str:
    """Return how a party refuses a share."""
    share = InferInput("pixels_share", shape, "INT64")
    share.set_data_from_numpy(np.zeros(shape, dtype=np.int64))
    try:
        client.infer(name, [share], parameters={"session_id": secrets.token_hex(16)}, client_timeout=20)
    except InferenceServerException as error:
        return f"{error.status()} {error.message()}"
    raise AssertionError("a wrong request was answered")


raw = Path(manifest_file).read_bytes()
manifest = json.loads(raw)
clients = [open_inference.connect(address, party, Path(tls), role) for party, address in enumerate(addresses)]
pixels = np.asarray(Image.open(picture))
print(  # noqa: T201
    json.dumps(
        {
            "parties": [facts(client, manifest["name"]) for client in clients],
            "logits": open_inference.infer(clients, pixels, manifest, hashlib.sha256(raw).hexdigest()).tolist(),
            "wrong_model": refusal(clients[0], "other", [3, 8, 8]),
            "wrong_shape": refusal(clients[0], manifest["name"], [1, 3, 8, 8]),
            "modules_of_ours": sorted(name for name in sys.modules if name.split(".")[0] in ("mpcvit", "parties")),
        }
    )
)
