"""Which sessions a party takes, and how many."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mpcvit.errors import (
    Draining,
    ModelMismatch,
    MpcvitError,
    Overloaded,
    ProgramMismatch,
    QuotaExceeded,
    SessionError,
    SessionExpired,
    SessionReplayed,
    ShapeMismatch,
    VersionSkew,
)
from mpcvit.wire import OLDEST_CLIENT_VERSION, PROTOCOL_VERSION
from mpcvit.wire.client_versions import manifest_digest_for
from mpcvit.wire.v1 import session_pb2
from parties.common.ledger import Ledger
from parties.common.settings import Limits
from parties.common.tenants import Tenants
from parties.party.admission import Admission
from parties.party.models import Models
from parties.party.sessions import HeldSession, SessionState, SessionTable
from tests.support.stand_in import MANIFEST

MODEL = SimpleNamespace(manifest=MANIFEST)


class Door:
    """An admission of party ``index``, what it holds, and which sessions it gave up."""

    def __init__(self, folder: Path, index: int = 0, **limits: int) -> None:
        settings = SimpleNamespace(index=index, limits=Limits(**limits))
        self.sessions, self.ledger, self.given_up = SessionTable(), Ledger(folder), []
        models = Models(SimpleNamespace(index=index, parties=2, owners=[], models=[]))  # type: ignore[arg-type]
        models.add(MODEL)  # type: ignore[arg-type]
        self.admission = Admission(
            settings,  # type: ignore[arg-type]
            models,
            Tenants(None, settings.limits.sessions_of_client),
            self.sessions,
            self.ledger,
            self._give_up,
        )

    def hold(self, number: int, owner: str = "alice.client", state: SessionState = SessionState.HELD) -> None:
        """Hold a session, and bring it to ``state``."""
        session = HeldSession(_spec(number), owner, MODEL, None, {})  # type: ignore[arg-type]
        self.admission.hold(session)
        self.sessions.move(session, state, before=SessionState.HELD)

    def _give_up(self, session: HeldSession, error: MpcvitError) -> None:
        self.given_up.append((session.owner, error.reason))
        self.sessions.remove(session.session_id)


def _spec(number: int = 1, **changes: object) -> session_pb2.SessionSpec:
    """A session that is admitted, with ``changes``."""
    fields = {
        "session_id": bytes([number] * 16),
        "model_name": MANIFEST.name,
        "model_version": MANIFEST.version,
        "manifest_sha256": MANIFEST.digest,
        "program_sha256": bytes.fromhex(MANIFEST.program_sha256),
        "input_shape": MANIFEST.input_shape,
        "protocol_version": PROTOCOL_VERSION,
        "expires_at": int(time.time()) + 60,
    }
    return session_pb2.SessionSpec(**{**fields, **changes})


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"protocol_version": PROTOCOL_VERSION + 1}, VersionSkew),
        ({"session_id": bytes(15)}, SessionError),
        ({"model_name": "another"}, ModelMismatch),
        ({"model_version": "0"}, ModelMismatch),
        ({"program_sha256": bytes(32)}, ProgramMismatch),
        ({"manifest_sha256": bytes(32)}, ModelMismatch),
        ({"input_shape": (1, 1, 1)}, ShapeMismatch),
        ({"expires_at": 1}, SessionExpired),
    ],
)
def test_what_cannot_run_is_refused(change: dict[str, object], kind: type[MpcvitError], tmp_path: Path) -> None:
    """Each for its reason; without the change it is admitted."""
    admission = Door(tmp_path).admission
    assert admission.check(_spec()) is MODEL
    with pytest.raises(kind):
        admission.check(_spec(**change))


def test_a_client_one_version_behind_is_admitted(tmp_path: Path) -> None:
    """It means the model by the digest of the manifest that it reads; today's clients do not."""
    admission = Door(tmp_path).admission
    older = manifest_digest_for(OLDEST_CLIENT_VERSION, MANIFEST)
    assert admission.check(_spec(protocol_version=OLDEST_CLIENT_VERSION, manifest_sha256=older)) is MODEL
    with pytest.raises(ModelMismatch):
        admission.check(_spec(manifest_sha256=older))
    with pytest.raises(VersionSkew, match="Update mpcvit at the client"):
        admission.check(_spec(protocol_version=OLDEST_CLIENT_VERSION - 1, manifest_sha256=older))


def test_holding_burns_nothing_but_what_was_burned_is_refused(tmp_path: Path) -> None:
    """An id that is in use, or that a party has burned before it restarted, is a replay."""
    door = Door(tmp_path)
    door.hold(1)
    assert door.ledger.state(_spec(1).session_id.hex()) is None
    with pytest.raises(SessionReplayed):
        door.hold(1)
    door.ledger.burn(_spec(2).session_id.hex())
    with pytest.raises(SessionReplayed):
        Door(tmp_path).hold(2)


def test_party_0_counts_what_is_ready_and_runs(tmp_path: Path) -> None:
    """What only one party holds takes nobody's place; party 1 does not count, as the order is party 0's."""
    door = Door(tmp_path / "0", sessions=1, queue=1)
    door.hold(1, state=SessionState.RUNNING)
    door.hold(2)
    door.hold(3, state=SessionState.READY)
    with pytest.raises(Overloaded, match="2 sessions; expected at most 1 running and 1 waiting"):
        door.hold(4)
    follower = Door(tmp_path / "1", index=1, sessions=1, queue=1)
    for number in range(4):
        follower.hold(number, state=SessionState.READY)


def test_a_client_that_has_most_makes_room_for_one_that_has_less(tmp_path: Path) -> None:
    """Its last waiting session goes, until both have as many; what runs goes on."""
    door = Door(tmp_path, sessions=1, queue=3)
    door.hold(1, "eve.client", SessionState.RUNNING)
    for number in (2, 3, 4):
        door.hold(number, "eve.client", SessionState.READY)
    with pytest.raises(Overloaded):
        door.admission.room_for("eve.client")
    for number, last in ((5, 4), (6, 3)):
        goes = door.admission.room_for("alice.client")
        assert goes is not None
        assert goes.session_id == bytes([last] * 16)
        door.sessions.remove(goes.session_id)
        door.hold(number, "alice.client", SessionState.READY)
    with pytest.raises(Overloaded, match="4 sessions; expected at most 1 running and 3 waiting"):
        door.admission.room_for("alice.client")


def test_a_client_holds_so_many(tmp_path: Path) -> None:
    """Others are still admitted."""
    door = Door(tmp_path, client_sessions=1)
    door.hold(1)
    with pytest.raises(QuotaExceeded, match=r"1 sessions of 'alice\.client'"):
        door.hold(2)
    door.hold(2, "bob.client")


@pytest.mark.parametrize("index", [0, 1])
def test_the_greediest_client_makes_room(index: int, tmp_path: Path) -> None:
    """Half sessions are bounded in all, and a flood of one client's does not keep others out."""
    door = Door(tmp_path, index, sessions=1, queue=1)
    for number in range(door.admission.most_held - 1):
        door.hold(number, "eve.client")
    door.hold(100, "alice.client")
    door.hold(101, "bob.client")
    assert door.given_up == [("eve.client", "OVERLOADED")]
    assert door.sessions.held_by("alice.client") == door.sessions.held_by("bob.client") == 1


def test_a_party_that_stops_takes_nothing(tmp_path: Path) -> None:
    """Its clients hear that they may retry."""
    door = Door(tmp_path)
    door.admission.drain()
    with pytest.raises(Draining) as caught:
        door.hold(1)
    assert caught.value.retry_with_new_session
