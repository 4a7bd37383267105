"""Party 0's order: what is paired, what waits, what starts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from mpcvit.errors import MpcvitError, Overloaded, PeerLost
from mpcvit.wire.v1 import peer_pb2, session_pb2
from parties.common.settings import Limits
from parties.common.tenants import Tenants
from parties.party.admission import Admission
from parties.party.peer_stream import PeerStream
from parties.party.scheduler import Scheduler
from parties.party.sessions import HeldSession, SessionState, SessionTable

#: All that a scheduler asks of a model.
MODEL: Any = SimpleNamespace(manifest=SimpleNamespace(key="tiny"))


class Peer:
    """A stub of party 1, which holds a session when a test says so."""

    def __init__(self, sessions: int) -> None:
        self.sessions = sessions
        self.opened: dict[bytes, Future[peer_pb2.OpenSessionResponse]] = {}
        self.OpenSession = self

    def future(self, request: peer_pb2.OpenSessionRequest, **_: Any) -> Future[peer_pb2.OpenSessionResponse]:
        """The call of ``OpenSession``."""
        call: Future[peer_pb2.OpenSessionResponse] = Future()
        self.opened[request.spec.session_id] = call
        return call

    def hold(self, *numbers: int) -> None:
        """Answer that the sessions are held, in this order."""
        for number in numbers:
            _until(lambda number=number: bytes([number] * 16) in self.opened)
            self.opened[bytes([number] * 16)].set_result(peer_pb2.OpenSessionResponse(sessions=self.sessions))


class Place:
    """A scheduler with its surroundings; sessions start in ``started`` and end in ``given_up`` or by :meth:`end`."""

    def __init__(self, *, peer_sessions: int = 2, memory: int = 1 << 40, **limits: int) -> None:
        self.table, self.peer = SessionTable(), Peer(peer_sessions)
        self.started: list[int] = []
        self.given_up: dict[int, MpcvitError] = {}
        self.expected: list[dict[str, int]] = []
        self.lost: MpcvitError | None = None
        settings: Any = SimpleNamespace(
            index=0, limits=Limits(**limits), timeouts=SimpleNamespace(pair_s=30, session_s=60)
        )
        monitor: Any = SimpleNamespace(require=self._require)
        engine: Any = SimpleNamespace(
            name="fast", memory=lambda model: 100, expect=lambda waiting: self.expected.append(dict(waiting))
        )
        admission = Admission(
            settings, None, Tenants(None, 8), self.table, SimpleNamespace(state=lambda name: None), self.give_up
        )  # type: ignore[arg-type]
        self.scheduler = Scheduler(
            settings,
            self.table,
            admission,
            self,  # type: ignore[arg-type]
            engine,
            {1: self.peer},  # type: ignore[dict-item]
            {1: monitor},
            weight=lambda client: 1,
            memory=memory,
        )

    def submit(self, number: int, owner: str = "alice.client") -> HeldSession:
        """Hold a session and schedule it."""
        spec = session_pb2.SessionSpec(session_id=bytes([number] * 16), model_name="tiny")
        streams = {1: PeerStream(1, stall_s=5, largest_frame=10)}
        session = HeldSession(spec, owner, MODEL, None, streams)  # type: ignore[arg-type]
        self.table.add(session)
        self.scheduler.submit(session)
        return session

    def end(self, session: HeldSession) -> None:
        """As a runner does it."""
        assert self.table.end(session)
        self.scheduler.ended(session)

    def start(self, session: HeldSession) -> None:
        """What a runner does with a session whose turn it is."""
        self.started.append(session.session_id[0])

    def connect(self, session: HeldSession, peer: int) -> None:
        """What a runner does with a session that a peer holds, too."""

    def give_up(self, session: HeldSession, error: MpcvitError) -> None:
        """What a runner does with a session that fails before its turn."""
        self.given_up[session.session_id[0]] = error
        for before in (SessionState.HELD, SessionState.READY):
            if self.table.move(session, SessionState.ENDED, before=before):
                self.scheduler.ended(session)

    def expire(self, session: HeldSession) -> None:
        """What a runner does with a session that waited for too long."""

    def _require(self) -> None:
        if self.lost is not None:
            raise self.lost


def _until(holds: Any) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@contextmanager
def _place(**options: int) -> Iterator[Place]:
    place = Place(**options)
    try:
        yield place
    finally:
        for call in place.peer.opened.values():
            call.cancel()


def test_sessions_start_in_the_order_in_which_they_are_complete() -> None:
    """As many at once as both parties run; what party 1 does not hold yet keeps nobody waiting."""
    with _place(peer_sessions=1, sessions=2, queue=8) as place:
        sessions = {number: place.submit(number) for number in (1, 2, 3)}
        place.peer.hold(3)
        _until(lambda: place.started == [3])
        place.peer.hold(2)
        _until(lambda: sessions[2].state is SessionState.READY)
        assert sessions[3].state is SessionState.RUNNING
        _until(lambda: place.expected[-1] == {"tiny": 1})
        place.end(sessions[3])
        assert place.started == [3, 2]
        place.peer.hold(1)
        _until(lambda: sessions[1].state is SessionState.READY)
        place.end(sessions[2])
        assert place.started == [3, 2, 1]
        assert not place.given_up


def test_clients_take_turns() -> None:
    """A client that brought four sessions does not keep one that brought one waiting for all of them."""
    with _place(peer_sessions=1, sessions=1, queue=8) as place:
        owners = {1: "alice", 2: "alice", 3: "alice", 4: "bob"}
        sessions = {}
        for number, owner in owners.items():
            sessions[number] = place.submit(number, owner)
            place.peer.hold(number)
            _until(lambda number=number: sessions[number].state in (SessionState.READY, SessionState.RUNNING))
        for number in (1, 2, 4):
            place.end(sessions[number])
        assert place.started == [1, 2, 4, 3]


def test_memory_bounds_what_runs() -> None:
    """A session that does not fit beside others waits; alone it runs, however large."""
    with _place(memory=150, sessions=2, queue=8) as place:
        sessions = [place.submit(number) for number in (1, 2)]
        place.peer.hold(1, 2)
        _until(lambda: {session.state for session in sessions} == {SessionState.RUNNING, SessionState.READY})
        first = next(session for session in sessions if session.state is SessionState.RUNNING)
        place.end(first)
        assert sorted(place.started) == [1, 2]
    with _place(memory=1) as place:
        place.submit(1)
        place.peer.hold(1)
        _until(lambda: place.started == [1])


def test_more_than_may_wait_are_refused() -> None:
    """A session that is complete when all places are taken is OVERLOADED."""
    with _place(peer_sessions=1, sessions=1, queue=1) as place:
        for number in (1, 2, 3):
            place.submit(number)
            place.peer.hold(number)
        _until(lambda: len(place.given_up) == 1)
        assert isinstance(next(iter(place.given_up.values())), Overloaded)


def test_a_lost_peer_is_not_asked() -> None:
    """The client hears at once; a session that ends while it is paired ends the call."""
    with _place() as place:
        session = place.submit(1)
        _until(lambda: place.peer.opened)
        threading.Timer(0.05, place.end, args=(session,)).start()
        _until(lambda: place.peer.opened[session.session_id].cancelled())
        place.lost = PeerLost("nobody", expected="party 1", remedy="Start it.")
        place.submit(2)
        _until(lambda: 2 in place.given_up)
        assert place.given_up[2].reason == "PEER_LOST"
        assert len(place.peer.opened) == 1


def test_a_client_that_has_most_makes_room_at_once() -> None:
    """Its last waiting session is out of the queue before anything else may start it; another is in its place."""
    with _place(sessions=1, queue=2) as place:
        first = [place.submit(number, "eve.client") for number in (1, 2, 3)]
        place.peer.hold(1)
        _until(lambda: place.started == [1])
        place.peer.hold(2, 3)
        _until(lambda: all(one.state is SessionState.READY for one in first[1:]))
        last = place.submit(4, "alice.client")
        place.peer.hold(4)
        _until(lambda: last.state is SessionState.READY)
        _until(lambda: len(place.given_up) == 1)
        (number, error), *_ = place.given_up.items()
        assert isinstance(error, Overloaded)
        assert number in (2, 3)
        place.end(first[0])
        _until(lambda: len(place.started) == 2)
        assert number not in place.started
