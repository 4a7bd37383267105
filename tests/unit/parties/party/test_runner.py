"""What others hear of sessions that end."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mpcvit.errors import DealerLost, InputOutOfRange, MpcvitError, PeerAborted
from mpcvit.wire.v1 import session_pb2
from parties.party.runner import Runner
from parties.party.sessions import Failed, HeldSession, Progress, SessionState, SessionTable

SETTINGS = SimpleNamespace(
    index=0,
    parties=2,
    limits=SimpleNamespace(sessions=1),
    timeouts=SimpleNamespace(session_s=60, pair_s=5, offline_s=5),
)


class Peer:
    """A stub of a peer that hears of aborted sessions."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.AbortSession = SimpleNamespace(future=lambda request, timeout: self.heard.append(request.reason))


def _session(sessions: SessionTable) -> HeldSession:
    """A session that runs, with a stream to party 1."""
    stream = SimpleNamespace(fail=lambda error: None, finish=lambda: None)
    session = HeldSession(
        session_pb2.SessionSpec(session_id=b"s" * 16), "alice.client", None, np.ones(3, dtype=np.int64), {1: stream}
    )  # type: ignore[arg-type,dict-item]
    sessions.add(session)
    sessions.move(session, SessionState.READY, before=SessionState.HELD)
    sessions.move(session, SessionState.RUNNING, before=SessionState.READY)
    return session


def _runner(sessions: SessionTable, peer: Peer, engine: SimpleNamespace | None = None) -> Runner:
    ledger = SimpleNamespace(burn=lambda *_, **about: None, close_session=lambda *_, **about: None)
    return Runner(SETTINGS, sessions, engine, {1: peer}, ledger, lambda session, outcome: None)  # type: ignore[arg-type,dict-item]


@pytest.mark.parametrize(
    ("reason", "passes", "kind"),
    [
        ("DEALER_LOST", True, PeerAborted),
        ("PROGRAM_MISMATCH", False, PeerAborted),
        ("INPUT_OUT_OF_RANGE", False, InputOutOfRange),
    ],
)
def test_what_a_peer_gives_up_for_says_whether_a_new_session_may_help(
    reason: str, passes: bool, kind: type[MpcvitError]
) -> None:
    """The echo of an error that passes by itself may be retried; what a client shared stays its own fault."""
    sessions = SessionTable()
    session = _session(sessions)
    _runner(sessions, Peer()).abort(session.session_id, 1, reason)
    assert type(session.failure) is kind
    assert session.failure.retry_with_new_session is passes


def test_an_error_names_its_session_and_its_phase() -> None:
    """So that reports of all roles can be put together."""

    def offline(session: HeldSession, link: object) -> object:
        raise DealerLost("nothing", expected="material", remedy="Start the dealer.")

    sessions, peer = SessionTable(), Peer()
    session = _session(sessions)
    sessions.wait_attached = lambda *_: None  # type: ignore[method-assign]
    engine = SimpleNamespace(offline=offline, release=lambda session: None)
    _runner(sessions, peer, engine)._run(session)
    assert isinstance(session.events.get(timeout=5), Progress)
    event = session.events.get(timeout=5)
    assert isinstance(event, Failed)
    assert (event.error.session_id, event.error.phase) == ((b"s" * 16).hex(), "offline")
    assert event.error.origin == "party0"
    assert peer.heard == ["DEALER_LOST"]


def test_the_share_of_an_ended_session_is_overwritten() -> None:
    sessions = SessionTable()
    session = _session(sessions)
    share = session.share
    engine = SimpleNamespace(release=lambda session: None)
    _runner(sessions, Peer(), engine)._finish(session, Failed(DealerLost("none", expected="some", remedy="Wait.")))
    assert share.tolist() == [0, 0, 0]
    assert session.share.size == 0
