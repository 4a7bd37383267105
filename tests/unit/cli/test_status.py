"""``mpcvit status`` and ``mpcvit drain`` against the admin ports of stand-ins for a party and a dealer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import mpcvit.cli.status
from mpcvit.cli.main import app
from mpcvit.errors import ModelMismatch
from mpcvit.wire.v1 import admin_pb2, admin_pb2_grpc, session_pb2
from parties.common.admin_service import AdminService
from parties.common.model_loader import ModelLoader
from parties.common.other_port import OtherPort
from parties.local.provision import provision_local
from tests.support.servers import Handlers, pem_of, start_server

PARTY = admin_pb2.GetStatusResponse(
    role="party0",
    version="1.2.3",
    protocol_version=3,
    uptime_s=7200,
    clients=[admin_pb2.ClientSessions(client="alice.client", waiting=2, running=1)],
    models=[
        admin_pb2.ModelStatus(
            name="tiny",
            version="1",
            manifest_sha256=b"\xab" * 32,
            active=True,
            pool_ready=1,
            pool_size=2,
            session_bytes=50 << 20,
        )
    ],
    roles=[
        admin_pb2.RoleStatus(role="party1", present=True, silence_s=0.25),
        admin_pb2.RoleStatus(role="dealer", silence_s=90, error="nobody [answers]"),
    ],
    unmet={"dealer": "DEALER_LOST: nobody answers"},
    certificate_days=12.3,
    ledger=session_pb2.LedgerMark(ledger_id=b"\xcd" * 16, epoch=17),
    memory=admin_pb2.MemoryStatus(resident_bytes=3 << 30, available_bytes=700 << 20),
)
DEALER = admin_pb2.GetStatusResponse(
    role="dealer", version="1.2.3", leases=[admin_pb2.PartyLeases(party="party1", open=3, most=8)], certificate_days=-1
)


class Loader(ModelLoader):
    """Loads what it is told, and keeps what it was asked to activate."""

    def __init__(self, role: str) -> None:
        super().__init__(Path("/models"))
        self.role = role
        self.active: list[str] = []

    def activate(self, name: str, version: str) -> None:
        if version == "9":
            raise ModelMismatch("another manifest", expected="the same", remedy="Load it.")
        self.active.append(f"{name}:{version}")

    def _load(self, folder: Path) -> admin_pb2.ModelStatus:
        return admin_pb2.ModelStatus(name=folder.name, version="2", manifest_sha256=b"\xab")


@dataclass
class Site:
    """A folder with certificates, and the configuration of an operator."""

    folder: Path
    document: dict[str, Any]
    stack: ExitStack
    drained: list[str] = field(default_factory=list)
    loaders: dict[str, Loader] = field(default_factory=dict)

    def serve(self, role: str, status: admin_pb2.GetStatusResponse) -> str:
        """The address of an admin port."""
        handlers = Handlers()

        def drain() -> admin_pb2.DrainResponse:
            self.drained.append(role)
            return admin_pb2.DrainResponse(sessions=3, drain_s=20)

        loader = self.loaders[role] = Loader(role)
        service = AdminService(role, lambda: status, drain, loader)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(service, handlers)
        pem = pem_of(self.folder / "tls", role)
        return start_server(self.stack, pem, [*handlers, OtherPort(role, "AdminService")])

    def run(self, *words: str, code: int = 0, **environment: str) -> str:
        """What a command prints."""
        (self.folder / "admin.yaml").write_text(yaml.safe_dump(self.document, sort_keys=False))
        config = ["--config", str(self.folder / "admin.yaml")]
        run = CliRunner().invoke(app, [*words, *config], env={"COLUMNS": "160", **environment})
        assert run.exit_code == code, run.output
        return run.stdout

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The same, read."""
        return json.loads(self.run(*words, "--json", code=code))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An operator of a party and a dealer."""
    provision_local(tmp_path / "tls", ["party0", "party1", "dealer", "olga.admin", "demo.client"])
    tls = {"ca": "tls/ca.crt", "cert": "tls/olga.admin.crt", "key": "tls/olga.admin.key"}
    with ExitStack() as stack:
        here = Site(tmp_path, {"tls": tls}, stack)
        here.document["roles"] = {"party0": here.serve("party0", PARTY), "dealer": here.serve("dealer", DEALER)}
        yield here


def test_status_is_an_object_by_role(site: Site) -> None:
    """Every field of the answer is there, under its name."""
    found = site.json("status")
    assert list(found) == ["party0", "dealer"]
    party = found["party0"]
    assert party["clients"] == {"alice.client": {"held": 0, "waiting": 2, "running": 1, "ended": 0}}
    assert party["models"][0]["manifest_sha256"] == "ab" * 32
    assert party["roles"]["dealer"] == {"present": False, "silence_s": 90.0, "error": "nobody [answers]"}
    assert party["ledger"] == {"id": "cd" * 16, "epoch": 17}
    assert not party["ready"]
    assert found["dealer"]["leases"] == {"party1": {"open": 3, "most": 8}}
    told = {"role", "clients", "models", "roles", "leases"}  # by name instead of as lists, or the key itself
    fields = {descriptor.name for descriptor in admin_pb2.GetStatusResponse.DESCRIPTOR.fields}
    assert fields - told <= set(party)


def test_dealers_that_stand_by_have_the_dealer_s_certificate(site: Site) -> None:
    site.document["roles"]["dealer1"] = site.document["roles"]["dealer"]
    assert site.json("status")["dealer1"]["version"] == "1.2.3"


def test_status_is_a_table_for_people(site: Site) -> None:
    text = site.run("status")
    for words in (
        "not ready, up 2.0 h",
        "DEALER_LOST: nobody answers",
        "there, heard 0.2 s ago",
        "lost for 1.5 min: nobody [answers]",
        "1 running, 2 waiting",
        "active, 1 of 2 prepared, 50 MiB a session",
        "12 days left",
        "cdcdcdcd at 17",
        "3.0 GiB used, 700 MiB available",
        "3 of 8 leases",
        "expired",
    ):
        assert words in text, text


def test_a_role_that_cannot_be_asked_is_shown_among_the_others(site: Site) -> None:
    """With the typed error; exit code 2."""
    site.document["roles"]["party1"] = "127.0.0.1:1"
    found = site.json("status", code=2)
    assert found["party1"]["error"]["reason"] == "PEER_LOST"
    assert "nobody listens there" in found["party1"]["error"]["message"]
    assert found["party0"]["version"] == "1.2.3"
    assert "PEER_LOST" in site.run("status", code=2)


def test_watch_asks_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is interrupted: one object a line."""
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(mpcvit.cli.status.time, "sleep", sleep)
    lines = site.run("status", "--watch", "--every", "0.5", "--json", code=130).splitlines()
    assert [json.loads(line)["dealer"]["version"] for line in lines] == ["1.2.3"] * 3
    assert looks == [0.5] * 3
    looks.clear()
    assert "2 waiting" in site.run("status", "--watch", code=130)


def test_drain_reaches_one_role(site: Site) -> None:
    assert site.json("drain", "dealer") == {"role": "dealer", "sessions": 3, "drain_s": 20.0}
    assert site.drained == ["dealer"]
    assert "3 sessions may end within 20 s" in site.run("drain", "party0")
    site.run("drain", "party7", code=2)
    assert site.drained == ["dealer", "party0"]


@pytest.mark.parametrize("role", ["party1", "demo.client"])
def test_only_operators_are_served(site: Site, role: str) -> None:
    """The command refuses another certificate before it calls; the service refuses it, too."""
    from mpcvit.admin.role_admin import RoleAdmin
    from mpcvit.errors import NotAllowed
    from mpcvit.wire.tls import TlsFiles

    site.document["tls"].update(cert=f"tls/{role}.crt", key=f"tls/{role}.key")
    error = site.json("status", code=2)["error"]
    assert error["reason"] == "NOT_AUTHENTICATED"
    assert f"for the role {role}" in error["got"]
    address = site.document["roles"]["party0"]
    with RoleAdmin(address, TlsFiles.in_folder(site.folder / "tls", role), "party0") as admin:
        with pytest.raises(NotAllowed, match=f"a call by role '{role}'"):
            admin.status()
        with pytest.raises(NotAllowed, match="operator's certificate"):
            admin.drain()
    assert not site.drained


def test_another_port_says_so(site: Site) -> None:
    """The client port of a party in the place of its admin port."""
    pem = pem_of(site.folder / "tls", "party0")
    site.document["roles"] = {"party0": start_server(site.stack, pem, [OtherPort("party0", "InferenceService")])}
    error = site.json("status", code=2)["party0"]["error"]
    assert "a call for an admin port at the client port of party0" in error["message"]


def test_roles_are_those_that_serve(site: Site) -> None:
    site.document["roles"] = {"alice.client": "127.0.0.1:1"}
    error = site.json("status", code=4)["error"]
    assert "'alice.client' is no role" in error["got"]


def test_versions_are_loaded_and_activated(site: Site) -> None:
    """Below the folder that the role allows, at the roles that are named; parties alone by default."""
    loaded = site.json("model", "load", "shares/tiny2", "--role", "party0")
    assert (loaded["name"], loaded["version"], loaded["manifest_sha256"]) == ("tiny2", "2", "ab")
    for folder in ("../etc", "/etc", "."):
        error = site.json("model", "load", folder, "--role", "party0", code=2)["error"]
        assert error["reason"] == "NOT_ALLOWED"
    assert site.json("model", "activate", "tiny:2")["roles"] == ["party0"]
    assert {role: loader.active for role, loader in site.loaders.items()} == {"party0": ["tiny:2"], "dealer": []}
    assert site.json("model", "activate", "tiny:9", code=1)["error"]["reason"] == "MODEL_MISMATCH"
    site.run("model", "activate", "tiny", code=2)
    site.run("model", "activate", "tiny:2", "--role", "party7", code=2)
