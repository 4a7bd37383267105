"""Tokens, policies, pinned keys and new certificates at running parties."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.client import Client
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ModelMismatch, MpcvitError, NotAllowed, NotAuthenticated, PeerLost, QuotaExceeded
from mpcvit.wire.peer_certificate import peer_certificate
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import TlsFiles
from parties.local.cluster import CLIENT_ROLE, LocalCluster, free_ports
from parties.party.open_inference.stubs import grpc_service_pb2, grpc_service_pb2_grpc
from tests.support.authority import Authority
from tests.support.channels import secure_channel
from tests.support.clusters import make_cluster

ROLES = ("party0", "party1", "dealer", CLIENT_ROLE, "other.client")


@dataclass
class Deployment:
    """A cluster whose roles pin each other, and which accepts the tokens of one issuer."""

    cluster: LocalCluster
    authority: Authority

    def client(self, folder: Path, **changes: Any) -> Path:
        """A client's configuration with changes, in a folder of its own."""
        document = yaml.safe_load(self.cluster.client_config.read_text())
        path = folder / "client.yaml"
        tls = {key: str(self.cluster.folder / value) for key, value in document["tls"].items()}
        path.write_text(yaml.safe_dump({**document, "tls": tls, **changes}))
        return path

    def by_token(self, folder: Path, subject: str, *options: str) -> Path:
        """The configuration of a client that shows tokens."""
        key, out = self.cluster.folder / "issuer.key", folder / "client.token"
        order = ["token", "issue", "--key", str(key), "--issuer", "clinic", "--subject", subject, "--audience", "demo"]
        run = CliRunner().invoke(app, [*order, "--out", str(out), *options])
        assert run.exit_code == 0, run.output
        addresses = [self.party(index)["listen"]["token"] for index in (0, 1)]
        ca = str(self.cluster.folder / "tls/ca.crt")
        return self.client(folder, tls={"ca": ca}, token=str(out), parties=addresses)

    def party(self, index: int) -> dict[str, Any]:
        """A party's configuration."""
        return yaml.safe_load((self.cluster.folder / f"party{index}.yaml").read_text())

    def rules(self, **rules: Any) -> None:
        """Replace the rules of all parties, and tell them."""
        path = self.cluster.folder / "tenants.yaml"
        key = json.loads((self.cluster.folder / "issuer.json").read_text())["public_key"]
        tokens = {"audience": "demo", "issuers": {"clinic": {"keys": [key]}}}
        path.write_text(yaml.safe_dump({"default": {}, "tokens": tokens, **rules}))
        self.hang_up("party0", "party1")

    def hang_up(self, *roles: str) -> None:
        """Send SIGHUP to those that run."""
        for role in roles:
            if role in self.cluster.processes:
                self.cluster.processes[role].send_signal(signal.SIGHUP)
        time.sleep(0.2 if self.cluster.processes else 0)


@pytest.fixture(scope="module")
def deployment(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two parties and a dealer."""
    folder = tmp_path_factory.mktemp("tenants")
    cluster, authority = make_cluster(tiny_folder, folder), Authority()
    made = Deployment(cluster, authority)
    shutil.rmtree(folder / "tls")
    for role in ROLES:
        authority.issue(folder / "tls", role)
    keys = {role: [peer_certificate((folder / f"tls/{role}.crt").read_bytes()).spki_sha256] for role in ROLES[:3]}
    ports = iter(free_ports(2))
    for role in ROLES[:3]:
        path = folder / f"{role}.yaml"
        document = yaml.safe_load(path.read_text())
        seen = {other: keys[other] for other in keys if other != role}
        document["tls"]["spki_sha256"] = seen
        if role != "dealer":
            document["tenants"] = "tenants.yaml"
            document["listen"]["token"] = f"127.0.0.1:{next(ports)}"
        path.write_text(yaml.safe_dump(document))
    run = CliRunner().invoke(app, ["token", "key", str(folder / "issuer.key"), "--json"])
    assert run.exit_code == 0, run.output
    (folder / "issuer.json").write_text(run.stdout)
    made.rules()
    with cluster:
        for role in ROLES[:3]:
            address = yaml.safe_load((folder / f"{role}.yaml").read_text())["listen"]["health"]
            _until_ready(address)
        yield made


def _until_ready(address: str) -> None:
    """Wait until a role would serve a session: right after the start others may still count as lost."""
    end = time.monotonic() + 60
    while CliRunner().invoke(app, ["health", address]).exit_code != 0:
        assert time.monotonic() < end
        time.sleep(0.5)


@pytest.fixture
def picture(tiny_pictures: ImageSet) -> Any:
    """One of the model's size."""
    return tiny_pictures.images[0]


def _error(config: Path, picture: Any) -> MpcvitError:
    with Client.from_config(config) as client, pytest.raises(MpcvitError) as caught:
        client.infer(picture)
    return caught.value


def test_a_client_with_tokens_is_served(deployment: Deployment, picture: Any, tmp_path: Path) -> None:
    """Beside one with a certificate; a new token is shown with the next call."""
    with Client.from_config(deployment.client(tmp_path)) as client:
        expected = client.infer(picture).label
    config = deployment.by_token(tmp_path, "alice", "--valid-s", "3")
    with Client.from_config(config) as client:
        assert client.infer(picture).label == expected
        time.sleep(9)  # with leeway for clocks
        with pytest.raises(NotAuthenticated, match="has expired"):
            client.infer(picture)
        deployment.by_token(tmp_path, "alice")
        time.sleep(1.1)
        assert client.infer(picture).label == expected
    tokens = (tmp_path / "client.token").read_text().split()
    logs = "".join(deployment.cluster.log(role) for role in ROLES[:3])
    assert not any(token in logs or token.split(".")[2] in logs for token in tokens)


def test_tokens_are_for_one_party_and_one_port(deployment: Deployment, picture: Any, tmp_path: Path) -> None:
    """Exchanged, they are refused; without one the token port refuses, and without a certificate the other one."""
    config = deployment.by_token(tmp_path, "alice")
    out = tmp_path / "client.token"
    out.write_text("\n".join(reversed(out.read_text().split())))
    assert isinstance(_error(config, picture), NotAuthenticated)
    deployment.by_token(tmp_path, "alice")
    mutual = [deployment.party(index)["listen"]["client"] for index in (0, 1)]
    document = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**document, "parties": mutual}))
    assert isinstance(_error(config, picture), NotAuthenticated | PeerLost)
    certificate = deployment.client(tmp_path, parties=document["parties"])
    assert "without a token" in str(_error(certificate, picture))


def test_stock_clients_show_tokens_too(deployment: Deployment, tmp_path: Path) -> None:
    """In the header of a call of the Open Inference Protocol: that of the party, or none is served."""
    config = yaml.safe_load(deployment.by_token(tmp_path, "alice").read_text())
    first, second = (tmp_path / "client.token").read_text().split()
    files = TlsFiles(Path(config["tls"]["ca"]), None, None)
    with secure_channel(config["parties"][0], files, "party0") as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = grpc_service_pb2.ServerLiveRequest()
        assert stub.ServerLive(request, metadata=[("authorization", f"Bearer {first}")], timeout=10).live
        for metadata in ([("authorization", f"Bearer {second}")], []):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ServerLive(request, metadata=metadata, timeout=10)
            assert isinstance(from_rpc_error(caught.value, "party0"), NotAuthenticated)


def test_policies_decide_who_may_do_what(deployment: Deployment, picture: Any, tmp_path: Path) -> None:
    """They change while the parties run; a broken file changes nothing."""
    config = deployment.client(tmp_path)
    try:
        with Client.from_config(config) as client:
            deployment.rules(clients={CLIENT_ROLE: {"models": ["another"]}})
            assert client.models() == []
            with pytest.raises(ModelMismatch):
                client.infer(picture)
            deployment.rules(default=None)
            with pytest.raises(NotAllowed, match="not listed"):
                client.infer(picture)
            deployment.rules(default=None, clients={CLIENT_ROLE: {"requests_per_s": 0.01, "burst": 2}})
            for _ in range(2):
                client.infer(picture)
            with pytest.raises(QuotaExceeded) as caught:
                client.infer(picture)
            assert 50 < (caught.value.retry_after_s or 0) <= 100
            (deployment.cluster.folder / "tenants.yaml").write_text("defualt: {}\n")
            deployment.hang_up("party0", "party1")
            with pytest.raises(QuotaExceeded):
                client.infer(picture)
            deployment.rules()
            client.infer(picture)
        assert "the old stays in force" in deployment.cluster.log("party0")
    finally:
        deployment.rules()


def test_certificates_change_under_load_without_a_failed_session(
    deployment: Deployment, picture: Any, tmp_path: Path
) -> None:
    """Case 22: first all roles renew theirs with the same keys, then two clients go on as before."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    tls, done = deployment.cluster.folder / "tls", threading.Event()
    config = deployment.client(tmp_path)
    before = {role: (tls / f"{role}.crt").read_bytes() for role in ROLES[:3]}

    def ask() -> list[str]:
        labels = []
        with Client.from_config(config) as client:
            while not done.is_set():
                labels.append(client.infer(picture).label)
        return labels

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask) for _ in range(2)]
        try:
            for _ in range(2):
                time.sleep(2)
                for role in ROLES:
                    key: Any = load_pem_private_key((tls / f"{role}.key").read_bytes(), None)
                    deployment.authority.issue(tls, role, key=key)
                deployment.hang_up(*ROLES[:3])
            time.sleep(4)
        finally:
            done.set()
        labels = [label for answer in answers for label in answer.result()]
    assert len(labels) > 4
    assert len(set(labels)) == 1
    assert all((tls / f"{role}.crt").read_bytes() != before[role] for role in ROLES[:3])
    with Client.from_config(config) as client:
        assert client.infer(picture).label == labels[0]


def test_a_certificate_of_ours_with_another_key_is_refused(
    deployment: Deployment, picture: Any, tmp_path: Path
) -> None:
    """Case 21, in both directions: a client that pins party 0, and somebody else who calls as party 0."""
    import grpc

    from mpcvit.wire.own_identity import OwnIdentity
    from mpcvit.wire.role_channel import RoleChannel
    from mpcvit.wire.status import from_rpc_error
    from mpcvit.wire.v1 import peer_pb2, peer_pb2_grpc

    key = peer_certificate((deployment.cluster.folder / "tls/party0.crt").read_bytes()).spki_sha256
    tls = yaml.safe_load(deployment.client(tmp_path).read_text())["tls"]
    good = deployment.client(tmp_path, tls={**tls, "spki_sha256": {"party0": [key]}})
    with Client.from_config(good) as client:
        client.infer(picture)
    bad = deployment.client(tmp_path, tls={**tls, "spki_sha256": {"party0": ["0" * 64]}})
    error = _error(bad, picture)
    assert isinstance(error, NotAuthenticated)
    assert f"with the key {key[:16]}" in error.got
    rogue = deployment.authority.issue(tmp_path / "rogue", "party0")
    with RoleChannel(deployment.party(1)["listen"]["peer"], OwnIdentity(rogue), "party1") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            peer_pb2_grpc.PeerServiceStub(channel).CheckPeer(peer_pb2.CheckPeerRequest(protocol_version=3), timeout=10)
        assert "the pinned key" in from_rpc_error(caught.value, "party1").expected


def test_diagnose_speaks_of_tokens_and_pinned_keys(deployment: Deployment, tmp_path: Path) -> None:
    """The command that users run first."""
    good = CliRunner().invoke(app, ["diagnose", "--config", str(deployment.by_token(tmp_path, "alice")), "--json"])
    assert good.exit_code == 0, good.output
    document = yaml.safe_load((tmp_path / "client.yaml").read_text())
    document["tls"]["spki_sha256"] = {"party1": ["0" * 64]}
    (tmp_path / "client.yaml").write_text(yaml.safe_dump(document))
    found = CliRunner().invoke(app, ["diagnose", "--config", str(tmp_path / "client.yaml"), "--json"])
    assert found.exit_code == 2
    assert "the pinned key" in json.dumps(json.loads(found.stdout)["party1"])
