"""Clients of the last release are served: one made of its descriptors, and its own code where its tag is at hand."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml

from mpcvit.client import Client, ClientSettings
from mpcvit.client.image import encode_picture
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import VersionSkew
from mpcvit.ring.fixed_point import decode
from mpcvit.wire import OLDEST_CLIENT_VERSION, PROTOCOL_VERSION
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc, peer_pb2, peer_pb2_grpc
from parties.local.cluster import CLIENT_ROLE, LocalCluster
from tests.support.channels import secure_channel
from tests.support.last_release import RELEASES, VERSION, LastReleaseClient

ROOT = Path(__file__).resolve().parents[2]
#: Asks with the code of the release, wherever it was unpacked.
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np, mpcvit
from mpcvit.client import Client
with Client.from_config(Path(sys.argv[1])) as client:
    answers = [client.infer(image).logits.tolist() for image in np.load(sys.argv[2])]
print(json.dumps({"code": mpcvit.__file__, "answers": answers}))
"""


@pytest.fixture
def old(cluster: LocalCluster) -> Iterator[LastReleaseClient]:
    files = TlsFiles.in_folder(cluster.folder / "tls", CLIENT_ROLE)
    with ExitStack() as stack:
        yield LastReleaseClient.on(
            [
                stack.enter_context(secure_channel(address, files, f"party{index}"))
                for index, address in enumerate(ClientSettings.read(cluster.client_config).parties)
            ]
        )


def test_a_client_of_the_last_release_is_answered(
    cluster: LocalCluster, old: LastReleaseClient, tiny_pictures: ImageSet
) -> None:
    """From its list of models to its logits; today's client gets the same."""
    with Client.from_config(cluster.client_config) as client:
        (manifest,) = client.models()
        today = client.infer(tiny_pictures.images[0]).logits
    codes = old.infer(encode_picture(tiny_pictures.images[0], manifest))
    assert np.abs(decode(codes, manifest.output_type.frac) - today).max() < 0.01


def test_versions_before_and_after_are_refused(old: LastReleaseClient) -> None:
    """VERSION_SKEW names the versions that are served, and who has to update."""
    for version, whose in ((OLDEST_CLIENT_VERSION - 1, "the client"), (PROTOCOL_VERSION + 1, "the parties")):
        with pytest.raises(grpc.RpcError) as caught:
            old.infer(np.zeros((3, 8, 8), np.int64), protocol_version=version)
        error = from_rpc_error(caught.value, "party")
        assert isinstance(error, VersionSkew)
        assert f"version {version}" in error.got
        assert f"{OLDEST_CLIENT_VERSION} to {PROTOCOL_VERSION}" in error.expected
        assert whose in error.remedy


@pytest.mark.parametrize("version", [0, OLDEST_CLIENT_VERSION, PROTOCOL_VERSION + 1])
def test_parties_and_dealer_speak_one_version(cluster: LocalCluster, version: int) -> None:
    """Another party's is refused by party and dealer, at the first sign of life and when it opens a session."""
    addresses = yaml.safe_load((cluster.folder / "party1.yaml").read_text())
    files = TlsFiles.in_folder(cluster.folder / "tls", "party0")
    with (
        secure_channel(addresses["listen"]["peer"], files, "party1") as peer,
        secure_channel(addresses["dealer"], files, "dealer") as dealer,
    ):
        at_peer, at_dealer = peer_pb2_grpc.PeerServiceStub(peer), dealer_pb2_grpc.DealerServiceStub(dealer)
        for call in (
            lambda: at_peer.CheckPeer(peer_pb2.CheckPeerRequest(protocol_version=version), timeout=10),
            lambda: at_peer.OpenSession(peer_pb2.OpenSessionRequest(protocol_version=version), timeout=10),
            lambda: at_dealer.CheckDealer(dealer_pb2.CheckDealerRequest(protocol_version=version), timeout=10),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            error = from_rpc_error(caught.value, "nobody")
            assert isinstance(error, VersionSkew)
            assert (error.got, error.expected) == (f"protocol version {version} at party0", str(PROTOCOL_VERSION))


def test_the_release_is_one_version_back() -> None:
    """What is frozen is what is still served."""
    assert VERSION == OLDEST_CLIENT_VERSION


def test_the_code_of_the_last_release_is_answered(
    cluster: LocalCluster, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """Its SDK, unpacked from its tag, in a process of its own."""
    (tag,) = (path.stem for path in RELEASES.glob("*.binpb"))
    archive = subprocess.run(["git", "archive", tag, "mpcvit"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"this clone has no tag {tag}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tmp_path, filter="data")
    np.save(tmp_path / "pictures.npy", tiny_pictures.images[:2])
    tls = {"ca": "ca.crt", "cert": f"{CLIENT_ROLE}.crt", "key": f"{CLIENT_ROLE}.key"}
    config = tmp_path / "client.yaml"
    parties = list(ClientSettings.read(cluster.client_config).parties)
    folder = cluster.folder / "tls"
    config.write_text(
        yaml.safe_dump({"tls": {key: str(folder / name) for key, name in tls.items()}, "parties": parties})
    )
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, config, tmp_path / "pictures.npy"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    said = json.loads(run.stdout)
    assert Path(said["code"]).is_relative_to(tmp_path)
    with Client.from_config(cluster.client_config) as client:
        today = np.array([client.infer(image).logits for image in tiny_pictures.images[:2]])
    assert np.abs(np.array(said["answers"]) - today).max() < 0.01
