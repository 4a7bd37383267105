"""A client of the last release: messages from its descriptors, and nothing of today's code on the way to the wire."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import split

RELEASES = Path(__file__).parents[2] / "protos" / "releases"
#: Protocol version of the release, and what its manifests hold: it refuses others.
VERSION = 2
MANIFEST_FORMAT = 3
MANIFEST_FIELDS = frozenset(
    {"name", "version", "program_sha256", "share_set", "parties", "input_shape", "output_type", "labels", "mean", "std"}
    | {"reveal", "ranges"}
)


def _messages() -> DescriptorPool:
    (path,) = RELEASES.glob("*.binpb")
    pool = DescriptorPool()
    files = FileDescriptorSet.FromString(path.read_bytes()).file
    for file in sorted(files, key=lambda file: len(file.dependency)):
        pool.Add(file)
    return pool


@dataclass(frozen=True, repr=False)
class LastReleaseClient:
    """What the release's SDK does, from its list of models to the sum of the shares.

    Args:
        channels: one per party.
    """

    channels: Sequence[grpc.Channel]
    pool: DescriptorPool

    @classmethod
    def on(cls, channels: Sequence[grpc.Channel]) -> LastReleaseClient:
        """Return a client of the parties at the ends of ``channels``."""
        return cls(channels, _messages())

    def message(self, name: str, **fields: Any) -> Any:
        """Return a message of the release."""
        return GetMessageClass(self.pool.FindMessageTypeByName(f"mpcvit.v1.{name}"))(**fields)

    def models(self) -> list[dict[str, Any]]:
        """Return the manifests of party 0, as the release reads them, each with its ``sha256``."""
        call = self._call(0, "ListModels", "unary_unary")
        manifests = []
        for raw in call(self.message("ListModelsRequest"), timeout=10).manifests:
            document = json.loads(raw)
            assert document.pop("format") == MANIFEST_FORMAT
            assert set(document) == MANIFEST_FIELDS
            canonical = json.dumps({"format": MANIFEST_FORMAT, **document}, sort_keys=True, separators=(",", ":"))
            manifests.append({**document, "sha256": hashlib.sha256(canonical.encode()).digest()})
        return manifests

    def infer(self, codes: Codes, **changes: Any) -> Codes:
        """Return the joined codes of the answer to a picture's codes [channels, height, width]; two parties."""
        (model,) = self.models()
        seed = secrets.token_bytes(32)
        fields = {
            "session_id": secrets.token_bytes(16),
            "model_name": model["name"],
            "model_version": model["version"],
            "manifest_sha256": model["sha256"],
            "program_sha256": bytes.fromhex(model["program_sha256"]),
            "input_shape": model["input_shape"],
            "protocol_version": VERSION,
            "expires_at": int(time.time()) + 60,
        }
        spec = self.message("SessionSpec", **{**fields, **changes})
        raw = split(codes, [Prg(seed)], spec.session_id).tobytes()
        uploads = [
            [self.message("SubmitShareRequest", header=self.message("ShareHeader", spec=spec, seed=seed))],
            [
                self.message(
                    "SubmitShareRequest", header=self.message("ShareHeader", spec=spec, masked_bytes=len(raw))
                ),
                self.message("SubmitShareRequest", chunk=raw),
            ],
        ]

        def run(party: int) -> Codes:
            self._call(party, "SubmitShare", "stream_unary")(iter(uploads[party]), timeout=60)
            fetch = self._call(party, "FetchResult", "unary_stream")
            request = self.message("FetchResultRequest", session_id=spec.session_id)
            events = list(fetch(request, timeout=60))
            header, *pieces = [event for event in events if event.WhichOneof("event") != "progress"]
            joined = b"".join(piece.chunk for piece in pieces)
            assert len(joined) == header.header.result_bytes
            return np.frombuffer(joined, dtype="<i8")

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(run, (0, 1))
        return first + second

    def _call(self, party: int, method: str, kind: str) -> Any:
        response = GetMessageClass(self.pool.FindMessageTypeByName(f"mpcvit.v1.{method}Response"))
        return getattr(self.channels[party], kind)(
            f"/mpcvit.v1.InferenceService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
