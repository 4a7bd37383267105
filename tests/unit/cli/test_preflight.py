"""``mpcvit preflight``: every failed check names its cause and what to do.

Party 1 and the dealer are stand-ins that give signs of life; ports, certificates, files and folders are real ones.
"""

from __future__ import annotations

import datetime
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import share_model
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc, peer_pb2, peer_pb2_grpc
from parties.common.other_port import OtherPort
from parties.common.state_lock import lock_state
from parties.local.provision import provision_local
from tests.support.servers import Handlers, pem_of, start_server


@dataclass
class SignsOfLife(peer_pb2_grpc.PeerServiceServicer, dealer_pb2_grpc.DealerServiceServicer):
    """A peer or a dealer that lives, and no more."""

    version: int = PROTOCOL_VERSION
    ahead_s: float = 0.0
    shown: list[bytes] = field(default_factory=list)

    def CheckPeer(  # noqa: N802 - the proto's name
        self, request: peer_pb2.CheckPeerRequest, context: grpc.ServicerContext
    ) -> peer_pb2.CheckPeerResponse:
        self.shown.append(request.ledger.ledger_id)
        return peer_pb2.CheckPeerResponse(protocol_version=self.version, unix_time_s=time.time() + self.ahead_s)

    def CheckDealer(  # noqa: N802 - the proto's name
        self, request: dealer_pb2.CheckDealerRequest, context: grpc.ServicerContext
    ) -> dealer_pb2.CheckDealerResponse:
        return dealer_pb2.CheckDealerResponse(protocol_version=self.version, unix_time_s=time.time() + self.ahead_s)


@dataclass
class Site:
    """A party's folder and configuration, and its neighbours."""

    folder: Path
    peer: SignsOfLife
    document: dict[str, Any]
    stack: ExitStack


@pytest.fixture(scope="module")
def shares(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both parties' share folders."""
    return share_model(ModelFolder.load(tiny_folder), 2, tmp_path_factory.mktemp("shares"))[1]


def _free() -> str:
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{holder.getsockname()[1]}"


@pytest.fixture
def site(shares: list[Path], tmp_path: Path) -> Iterator[Site]:
    """Party 0, about to serve."""
    tls = tmp_path / "tls"
    provision_local(tls, ["party0", "party1", "dealer"])
    with ExitStack() as stack:
        peer = SignsOfLife()
        peers, dealers = Handlers(), Handlers()
        peer_pb2_grpc.add_PeerServiceServicer_to_server(peer, peers)
        dealer_pb2_grpc.add_DealerServiceServicer_to_server(SignsOfLife(), dealers)
        document = {
            "index": 0,
            "listen": {"client": _free(), "peer": _free(), "health": _free()},
            "tls": {"ca": "tls/ca.crt", "cert": "tls/party0.crt", "key": "tls/party0.key"},
            "peers": {1: start_server(stack, pem_of(tls, "party1"), [*peers, OtherPort("party1", "PeerService")])},
            "dealer": start_server(stack, pem_of(tls, "dealer"), [*dealers, OtherPort("dealer", "DealerService")]),
            "models": [str(shares[0])],
            "state": "state",
        }
        yield Site(tmp_path, peer, document, stack)


def _preflight(site: Site, code: int, name: str = "party0.yaml", document: Any = None) -> dict[str, Any]:
    path = site.folder / name
    path.write_text(yaml.safe_dump(document or site.document))
    run = CliRunner().invoke(app, ["preflight", "--config", str(path), "--json"])
    assert run.exit_code == code, run.output
    return json.loads(run.stdout)


def test_a_party_that_can_serve_passes(site: Site) -> None:
    """Every check has a fact; nothing of what was looked at stays taken."""
    for _ in range(2):
        report = _preflight(site, 0)
        assert report["ok"]
        assert report["role"] == "party"
        listen = [f"listen.{key}" for key in ("client", "peer", "health")]
        assert list(report["checks"]) == ["certificate", *listen, "models", "state", "memory", "party1", "dealer"]
        assert all(check["fact"] and not check["error"] for check in report["checks"].values())
    assert site.peer.shown[0] == site.peer.shown[1] != b""  # the ledger that serve will show
    assert "valid for 36" in report["checks"]["certificate"]["fact"]
    assert "clocks differ by 0" in report["checks"]["party1"]["fact"]
    text = CliRunner().invoke(app, ["preflight", "--config", str(site.folder / "party0.yaml")], env={"COLUMNS": "200"})
    assert text.exit_code == 0, text.output
    assert "MiB available" in text.stdout


def _change(**keys: Any) -> Callable[[Site], None]:
    return lambda site: site.document.update(keys)


def _tls(**keys: str) -> Callable[[Site], None]:
    return lambda site: site.document["tls"].update(keys)


def _expired(site: Site) -> None:
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=800)
    provision_local(site.folder / "old", ["party0"], now=past)
    site.document["tls"] = {"ca": "old/ca.crt", "cert": "old/party0.crt", "key": "old/party0.key"}


def _taken(site: Site) -> None:
    holder = site.stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
    site.document["listen"]["peer"] = f"127.0.0.1:{holder.getsockname()[1]}"


def _in_use(site: Site) -> None:
    site.stack.enter_context(lock_state(site.folder / "state"))


def _a_file(site: Site) -> None:
    (site.folder / "state").write_text("not a folder")


def _nobody(site: Site) -> None:
    site.document["peers"] = {1: _free()}


def _other_role(site: Site) -> None:
    site.document["peers"], site.document["dealer"] = {1: site.document["dealer"]}, site.document["peers"][1]


def _client_port(site: Site) -> None:
    pem = pem_of(site.folder / "tls", "party1")
    site.document["peers"] = {1: start_server(site.stack, pem, [OtherPort("party1", "InferenceService")])}


def _clock(site: Site) -> None:
    site.peer.ahead_s = -3600.0


def _version(site: Site) -> None:
    site.peer.version = PROTOCOL_VERSION + 5


CASES: dict[str, tuple[Callable[[Site], None], str, str, str]] = {
    "expired": (_expired, "certificate", "NOT_AUTHENTICATED", "which expired on"),
    "another role": (
        _tls(cert="tls/party1.crt", key="tls/party1.key"),
        "certificate",
        "NOT_AUTHENTICATED",
        "for the role party1",
    ),
    "another key": (_tls(key="tls/dealer.key"), "certificate", "CONFIG", "which is not the key of"),
    "port taken": (_taken, "listen.peer", "CONFIG", "Address already in use"),
    "no model": (_change(models=["nowhere"]), "models", "MODEL_FILE", "nowhere"),
    "state in use": (_in_use, "state", "CONFIG", "which another process uses"),
    "state is a file": (_a_file, "state", "CONFIG", "state folder"),
    "no room for material": (
        _change(pool={"sessions": 1 << 40, "memory_mib": 0}),
        "state",
        "CONFIG",
        "that prepared material may take",
    ),
    "no memory": (_change(limits={"sessions": 1 << 20}), "memory", "CONFIG", "MiB of memory that can still be had"),
    "peer not there": (_nobody, "party1", "PEER_LOST", "nobody listens there"),
    "peer and dealer swapped": (_other_role, "party1", "NOT_AUTHENTICATED", "it is for dealer.mpcvit"),
    "standby dealer": (_change(standby_dealers=["127.0.0.1:1"]), "dealer1", "PEER_LOST", "nobody listens there"),
    "peer's client port": (_client_port, "party1", "CONFIG", "a call for a peer port at the client port of party1"),
    "peer's clock": (_clock, "party1", "CONFIG", "the clock of party1, which is 3600 s behind ours"),
    "peer's version": (_version, "party1", "VERSION_SKEW", "protocol version"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_failed_check_names_its_cause(site: Site, case: str) -> None:
    """And a remedy; without a certificate nobody is called."""
    change, subject, reason, words = CASES[case]
    change(site)
    report = _preflight(site, 1)
    assert not report["ok"]
    check = report["checks"][subject]
    assert check["reason"] == reason
    assert words in check["error"]
    assert check["error"].count(". ") >= 1
    assert ("party1" in report["checks"]) is (subject != "certificate")


def test_a_peer_is_not_called_with_a_ledger_that_cannot_be_used(site: Site) -> None:
    """While the party serves: its peer would take note of a mark that is older than the next."""
    _preflight(site, 0)
    _in_use(site)
    assert "not called" in _preflight(site, 1)["checks"]["party1"]["fact"]
    assert len(site.peer.shown) == 1


def test_a_tenants_file_is_read(site: Site) -> None:
    (site.folder / "tenants.yaml").write_text("clients: {alice.client: {sessions: 2}}")
    site.document["tenants"] = "tenants.yaml"
    assert _preflight(site, 0)["checks"]["tenants"]["fact"] == "1 clients, others refused, no tokens"
    (site.folder / "tenants.yaml").write_text("clients: {alice.client: {session: 2}}")
    assert "did you mean 'sessions'" in _preflight(site, 1)["checks"]["tenants"]["error"]


def test_a_wrong_configuration_has_its_own_exit_code(site: Site) -> None:
    site.document["dealer"] = "dealer"
    assert "is no host:port" in _preflight(site, 4)["error"]["got"]


def test_a_dealer_is_checked_without_neighbours(site: Site, shares: list[Path]) -> None:
    """It calls nobody."""
    tls = {"ca": "tls/ca.crt", "cert": "tls/dealer.crt", "key": "tls/dealer.key"}
    listen = {"party": _free(), "health": _free()}
    document = {"listen": listen, "tls": tls, "programs": [str(shares[0])], "state": "dealer-state"}
    checks = _preflight(site, 0, "dealer.yaml", document)["checks"]
    assert list(checks) == ["certificate", "listen.party", "listen.health", "programs", "state", "memory"]
    document["programs"] = ["nowhere"]
    assert _preflight(site, 1, "dealer.yaml", document)["checks"]["programs"]["reason"] == "MODEL_FILE"


def test_a_client_is_diagnosed(site: Site) -> None:
    """The same checks as ``mpcvit diagnose``."""
    provision_local(site.folder / "own", ["demo.client"])
    tls = {"ca": "own/ca.crt", "cert": "own/demo.client.crt", "key": "own/demo.client.key"}
    checks = _preflight(site, 1, "client.yaml", {"tls": tls, "parties": [_free(), _free()]})["checks"]
    assert checks["certificate"]["ok"]
    assert "nobody listens" in checks["party0"]["error"]
