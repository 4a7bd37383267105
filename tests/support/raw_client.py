"""A client that says what it wants: sessions made by hand."""

from __future__ import annotations

import secrets
import time

import numpy as np

from mpcvit.client import ClientSettings, Submission
from mpcvit.client.image import encode_picture
from mpcvit.client.transport import GrpcParty
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import split
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.v1 import session_pb2
from parties.local.cluster import CLIENT_ROLE, LocalCluster


class Raw:
    """A client of ``cluster`` that hands in what a test gives it.

    Args:
        own: a role of the cluster's, whose certificate it shows, or TLS files; by default the cluster's client.
    """

    def __init__(self, cluster: LocalCluster, own: str | TlsFiles = CLIENT_ROLE) -> None:
        settings = ClientSettings.read(cluster.client_config)
        files = own if isinstance(own, TlsFiles) else TlsFiles.in_folder(cluster.folder / "tls", own)
        self.parties = [GrpcParty(address, files, f"party{i}") for i, address in enumerate(settings.parties)]
        self.deadline = time.monotonic() + 60

    def spec(self, **changes: object) -> session_pb2.SessionSpec:
        """The spec of a good session, with ``changes``."""
        manifest = self.parties[0].manifests(self.deadline)[0]
        fields = {
            "session_id": secrets.token_bytes(16),
            "model_name": manifest.name,
            "model_version": manifest.version,
            "manifest_sha256": manifest.digest,
            "program_sha256": bytes.fromhex(manifest.program_sha256),
            "input_shape": manifest.input_shape,
            "protocol_version": PROTOCOL_VERSION,
            "expires_at": int(time.time()) + 60,
        }
        return session_pb2.SessionSpec(**{**fields, **changes})

    def shares(self, spec: session_pb2.SessionSpec, image: np.ndarray) -> list[Submission]:
        """Both parties' submissions for ``image``."""
        manifest = self.parties[0].manifests(self.deadline)[0]
        seed = secrets.token_bytes(32)
        masked = split(encode_picture(image, manifest), [Prg(seed)], spec.session_id)
        return [Submission(spec, seed), Submission(spec, masked)]
