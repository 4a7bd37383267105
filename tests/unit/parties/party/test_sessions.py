"""The table of sessions that a party holds."""

from __future__ import annotations

import queue
import threading

import pytest

from mpcvit.errors import NotAllowed, SessionExpired, SessionReplayed, SessionUnknown
from mpcvit.wire.v1 import session_pb2
from parties.party.peer_stream import PeerStream
from parties.party.sessions import HeldSession, Progress, SessionState, SessionTable


def _session(owner: str = "alice.client", number: int = 1) -> HeldSession:
    spec = session_pb2.SessionSpec(session_id=bytes([number] * 16))
    streams = {1: PeerStream(1, stall_s=1, largest_frame=10)}
    return HeldSession(spec, owner, None, None, streams)  # type: ignore[arg-type]


def test_sessions_belong_to_their_submitter() -> None:
    """Others may not fetch or cancel; unknown ids say so."""
    table = SessionTable()
    session = _session()
    table.add(session)
    assert table.owned(session.session_id, "alice.client") is session
    with pytest.raises(NotAllowed, match="another client"):
        table.owned(session.session_id, "bob.client")
    with pytest.raises(SessionUnknown):
        table.owned(bytes(16), "alice.client")


def test_what_a_client_holds_is_counted() -> None:
    """Its sessions count until they are removed, also when they have ended; another's do not."""
    table = SessionTable()
    for number, owner in enumerate(["alice.client", "bob.client", "alice.client"]):
        table.add(_session(owner, number))
    assert table.end(table.all()[0])
    assert (table.held_by("alice.client"), table.held_by("bob.client"), table.held_by("eve.client")) == (2, 1, 0)
    table.remove(bytes(16))
    assert table.held_by("alice.client") == 1


def test_one_fetch_at_a_time() -> None:
    """A client that asks twice for one result does not hold two threads; after the first has ended it may ask again."""
    session = _session()
    session.events.put(Progress("pairing", 0, 1))
    first = session.follow(5)
    next(first)
    with pytest.raises(NotAllowed, match="second fetch"):
        next(session.follow(5))
    first.close()
    session.events.put(Progress("offline", 0, 1))
    assert next(session.follow(5)).phase == "offline"


def test_timers_end_with_the_state_that_they_are_for() -> None:
    """What was to happen to a session that waits does not happen to one that runs, ended or was fetched."""
    table, due, gone = SessionTable(), _session(number=1), _session(number=2)
    happened: queue.SimpleQueue[str] = queue.SimpleQueue()
    for session in (due, gone):
        table.add(session)
    table.after(gone, SessionState.HELD, 0.05, lambda: happened.put("gone"))
    table.remove(gone.session_id)
    table.after(due, SessionState.HELD, 0.05, lambda: happened.put("held"))
    assert table.move(due, SessionState.READY, before=SessionState.HELD)
    table.after(due, SessionState.HELD, 0.05, lambda: happened.put("too late"))
    table.after(due, SessionState.READY, 0.1, lambda: happened.put("ready"))
    assert happened.get(timeout=5) == "ready"
    assert happened.empty()


def test_a_session_ends_once() -> None:
    """Whoever ends it first says how; nothing moves it after that."""
    table, session = SessionTable(), _session()
    table.add(session)
    assert table.count(SessionState.HELD) == 1
    assert not table.move(session, SessionState.RUNNING, before=SessionState.READY)
    assert table.end(session)
    assert not table.end(session)
    assert not table.move(session, SessionState.READY, before=SessionState.HELD)
    assert (table.count(SessionState.HELD), table.count(SessionState.ENDED)) == (0, 1)
    with pytest.raises(SessionReplayed):
        table.add(_session())


def test_waiting_for_a_session_ends_when_it_comes_or_expires() -> None:
    """A peer that asks early waits for the client's share, but not for ever."""
    table, session = SessionTable(), _session()
    threading.Timer(0.05, table.add, args=(session,)).start()
    assert table.wait_for(session.session_id, 2) is session
    with pytest.raises(SessionExpired, match="no share from the client"):
        table.wait_for(bytes(16), 0.01)
    with pytest.raises(SessionExpired, match="no share"):
        table.wait_for(bytes(16), 60, wanted=lambda: False)
    with pytest.raises(SessionExpired, match="party 1"):
        table.wait_attached(session, 0.01)
    table.attach(session, 1)
    table.wait_attached(session, 0.01)
    with pytest.raises(NotAllowed, match="second stream"):
        table.attach(session, 1)
