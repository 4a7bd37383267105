"""The audit logs of a running deployment: whole, and telling of the same sessions and material."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import grpc
import pytest
import yaml
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.client import Client
from mpcvit.data.image_set import ImageSet
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.v1 import peer_pb2, peer_pb2_grpc
from parties.common.audit import FILE_NAME
from parties.local.cluster import CLIENT_ROLE, LocalCluster
from tests.support.channels import secure_channel


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_logs_tell_what_happened(cluster: LocalCluster, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """Session, client, model, material and lease at every role; a refused call with its caller; nothing to object."""
    with Client.from_config(cluster.client_config) as client:
        session = client.infer(tiny_pictures.images[0], retries=5).session_id
    peer = yaml.safe_load((cluster.folder / "party0.yaml").read_text())["listen"]["peer"]
    files = TlsFiles.in_folder(cluster.folder / "tls", CLIENT_ROLE)
    with secure_channel(peer, files, "party0") as channel, pytest.raises(grpc.RpcError):
        peer_pb2_grpc.PeerServiceStub(channel).CheckPeer(peer_pb2.CheckPeerRequest(), timeout=10)

    copies = {role: tmp_path / f"{role}.jsonl" for role in ("party0", "party1", "dealer")}
    for role, copy in copies.items():
        shutil.copy(cluster.folder / "state" / role / FILE_NAME, copy)
    done = CliRunner().invoke(app, ["audit", "verify", *map(str, copies.values()), "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 0, found
    assert found["sessions"] >= 1
    assert found["material"] >= 1

    lines = _lines(copies["party0"])
    about = {"client": CLIENT_ROLE, "model": "tiny"}
    (opened,) = [line for line in lines if line["event"] == "session_opened" and line["session"] == session]
    assert {name: opened[name] for name in about} == about
    used = {line["material"] for line in lines if line["event"] == "material_used" and line["session"] == session}
    assert used <= {line["material"] for line in _lines(copies["dealer"]) if line["event"] == "lease_opened"}
    assert any(line["event"] == "model_loaded" and line["model"] == "tiny" for line in lines)
    refused = [line for line in lines if line["event"] == "refused" and line["call"] == "CheckPeer"]
    assert (CLIENT_ROLE, "NOT_ALLOWED") in {(line["caller"], line["reason"]) for line in refused}
    witnessed = {str(line["of"]) for line in lines if line["event"] == "witnessed"}
    assert witnessed == {"party1", "dealer"}
