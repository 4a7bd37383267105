"""Party 0's order of sessions: which are ready, and which starts next. All parties run them in this order."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping

import grpc

from mpcvit.errors import MpcvitError, PeerError, SessionCancelled
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import peer_pb2, peer_pb2_grpc
from parties.common.failure import unexpected
from parties.common.settings import PartySettings
from parties.party.admission import Admission
from parties.party.engine import Engine
from parties.party.fair_queue import FairQueue
from parties.party.liveness import Monitor
from parties.party.runner import Runner
from parties.party.sessions import HeldSession, SessionState, SessionTable

log = logging.getLogger("mpcvit.scheduler")


class Scheduler:
    """Pairs every session with the peers, lets it wait for its turn, and starts it at all parties.

    Args:
        peers, monitors: stubs of the other parties, and their signs of life, by number.
        weight: how many sessions of a client start in one of its turns.
        memory: bytes that running sessions may take in all.
    """

    def __init__(
        self,
        settings: PartySettings,
        sessions: SessionTable,
        admission: Admission,
        runner: Runner,
        engine: Engine,
        peers: Mapping[int, peer_pb2_grpc.PeerServiceStub],
        monitors: Mapping[int, Monitor],
        *,
        weight: Callable[[str], int],
        memory: int,
    ) -> None:
        self._settings, self._sessions, self._admission = settings, sessions, admission
        self._runner, self._engine, self._peers, self._monitors = runner, engine, peers, monitors
        self._memory = memory
        #: Sessions that each party runs at the same time, as it said last.
        self._slots = {settings.index: settings.limits.sessions}
        self._lock = threading.Lock()
        self._queue: FairQueue[HeldSession] = FairQueue(weight)
        self._running: set[HeldSession] = set()
        self._calls: dict[HeldSession, grpc.Future] = {}

    def submit(self, session: HeldSession) -> None:
        """Pair a held session, and let it wait for its turn; admission bounds how many are paired at once."""
        threading.Thread(target=self._pair, args=(session,), name="pair", daemon=True).start()

    def ended(self, session: HeldSession) -> None:
        """Let the next session have the place of one that ended."""
        with self._lock:
            self._running.discard(session)
            self._queue.remove(session.owner, session)
            call = self._calls.pop(session, None)
        if call is not None:
            call.cancel()
        self._dispatch()

    def _pair(self, session: HeldSession) -> None:
        try:
            for peer in session.streams:
                self._open(session, peer)
            self._enqueue(session)
        except MpcvitError as error:
            self._runner.give_up(session, error)
        except Exception as error:
            self._runner.give_up(session, unexpected(error, "party0"))
        else:
            self._dispatch()

    def _enqueue(self, session: HeldSession) -> None:
        """Let a session that all parties hold wait for its turn; one of a client that has more may have to go.

        Raises:
            Overloaded: as many wait and run as are allowed.
        """
        waits_s, overloaded = self._settings.timeouts.session_s, self._admission.overloaded()
        with self._lock:
            too_many = self._admission.room_for(session.owner)
            if not self._sessions.move(session, SessionState.READY, before=SessionState.HELD):
                return
            session.report("waiting")
            self._queue.push(session.owner, session)
            self._sessions.after(session, SessionState.READY, waits_s, lambda: self._runner.expire(session))
            if too_many is not None:  # from here on it is nobody's turn, and nobody else's room
                self._queue.remove(too_many.owner, too_many)
                too_many.failure = overloaded
        if too_many is not None:
            self._runner.give_up(too_many, overloaded)

    def _open(self, session: HeldSession, peer: int) -> None:
        """Wait until a peer holds the same session, then connect the stream.

        Raises:
            MpcvitError: the peer does not hold it, or not the same, or is not there.
        """
        self._monitors[peer].require()
        request = peer_pb2.OpenSessionRequest(
            spec=session.spec,
            engine=self._engine.name,
            protocol_version=PROTOCOL_VERSION,
            dealer=session.dealer,
        )
        # wait_for_ready: a channel that found nobody when all started may still pause before it tries again
        call = self._peers[peer].OpenSession.future(
            request, timeout=self._settings.timeouts.pair_s + 1, wait_for_ready=True
        )
        with self._lock:
            self._calls[session] = call
        try:
            if session.state is SessionState.ENDED:
                call.cancel()
            answer = call.result()
            with self._lock:
                self._slots[peer] = answer.sessions or self._settings.limits.sessions
        except grpc.FutureCancelledError as error:
            raise _cancelled() from error
        except grpc.RpcError as error:
            known = from_rpc_error(error, f"party{peer}")
            if isinstance(known, PeerError):
                known = probe(self._settings.peers[peer], self._settings.tls.files, f"party{peer}") or known
            raise known from error
        finally:
            with self._lock:
                self._calls.pop(session, None)
        self._runner.connect(session, peer)

    def _dispatch(self) -> None:
        """Start what there is room for, in turn, and say what will be needed soon."""
        started: list[HeldSession] = []
        with self._lock:
            while (session := self._queue.first()) is not None and self._has_room(session):
                self._queue.pop()
                if self._sessions.move(session, SessionState.RUNNING, before=SessionState.READY):
                    self._running.add(session)
                    started.append(session)
            waiting = Counter(session.model.manifest.key for session in self._queue)
        self._engine.expect(waiting)
        for session in started:
            for stream in session.streams.values():
                stream.start()
            self._runner.start(session)

    def _has_room(self, session: HeldSession) -> bool:
        if not self._running:
            return True
        taken = sum(self._engine.memory(running.model.manifest.key) for running in self._running)
        needed = self._engine.memory(session.model.manifest.key)
        return len(self._running) < min(self._slots.values()) and taken + needed <= self._memory


def _cancelled() -> SessionCancelled:
    return SessionCancelled("a cancelled session", expected="one that is still wanted", remedy="Submit a new session.")
