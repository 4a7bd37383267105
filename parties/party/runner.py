"""Running sessions whose turn it is: connect the peers, agree on material, compute, and say how it ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from mpcvit.errors import (
    Draining,
    InputOutOfRange,
    MpcvitError,
    PeerAborted,
    SessionCancelled,
    SessionExpired,
    by_reason,
)
from mpcvit.wire import SESSION_METADATA
from mpcvit.wire.v1 import peer_pb2, peer_pb2_grpc
from parties.common.audit import AuditEvent
from parties.common.failpoints import Failpoint, failpoint
from parties.common.failure import fresh, unexpected
from parties.common.ledger import Ledger
from parties.common.settings import PartySettings
from parties.party.engine import Engine
from parties.party.freed_memory import return_freed_memory
from parties.party.grpc_link import GrpcLink
from parties.party.sessions import Failed, Finished, HeldSession, SessionEnd, SessionState, SessionTable

log = logging.getLogger("mpcvit.party")


class Runner:
    """Sessions in threads of a bounded pool, and the end of every session, run or not.

    Args:
        peers: stubs of the other parties, by number.
        ledger: where sessions are burned before they run, and where their ends are written.
        ended: called with every session that has ended, and how it did.
    """

    def __init__(
        self,
        settings: PartySettings,
        sessions: SessionTable,
        engine: Engine,
        peers: Mapping[int, peer_pb2_grpc.PeerServiceStub],
        ledger: Ledger,
        ended: Callable[[HeldSession, SessionEnd], None],
    ) -> None:
        self._settings, self._index, self._sessions = settings, settings.index, sessions
        self._engine, self._peers, self._ledger, self._ended = engine, peers, ledger, ended
        self._pool = ThreadPoolExecutor(settings.limits.sessions, thread_name_prefix="session")

    def start(self, session: HeldSession) -> None:
        """Run a session whose turn it is."""
        try:
            self._pool.submit(self._run, session)
        except RuntimeError:  # the pool is closed
            self._finish(session, Failed(stopping()))

    def connect(self, session: HeldSession, peer: int) -> None:
        """Open the stream to a peer of higher number, which holds the session."""
        stream = self._sessions.attach(session, peer)
        call = self._peers[peer].Exchange(
            stream.outgoing(peer_pb2.ExchangeRequest),
            metadata=((SESSION_METADATA, session.session_id),),
        )
        threading.Thread(target=stream.consume, args=(call,), name=f"peer{peer}", daemon=True).start()

    def abort(self, session_id: bytes, peer: int, reason: str) -> None:
        """Note that a peer gave the session up for ``reason``."""
        session = self._sessions.find(session_id)
        if session is not None and peer in session.streams:
            # what the client shared is its fault, whichever party is the first to say so
            kind = InputOutOfRange if by_reason(reason) is InputOutOfRange else PeerAborted
            error = kind(
                f"party {peer} gave up: {reason}",
                expected="a session that all parties finish",
                remedy="See the other party's error.",
                origin=f"party{peer}",
                retry_after_s=by_reason(reason).retry_after_s,
            )
            self.give_up(session, error)

    def give_up(self, session: HeldSession, error: MpcvitError) -> None:
        """End a session that waits; make one that runs end soon."""
        session.failure = session.failure or fresh(error)
        if self._sessions.move(session, SessionState.ENDED, before=SessionState.HELD) or self._sessions.move(
            session, SessionState.ENDED, before=SessionState.READY
        ):
            self._close(session, Failed(fresh(error)), burned=False)
        for stream in session.streams.values():
            stream.fail(error)
        self._sessions.look_again()

    def cancel(self, session: HeldSession) -> None:
        """Give up a session that its client does not want any more."""
        self.give_up(
            session,
            SessionCancelled(
                "a cancelled session", expected="one that is still wanted", remedy="Submit a new session."
            ),
        )

    def expire(self, session: HeldSession) -> None:
        """Give up a session that has waited for too long."""
        state = session.state
        timeouts = self._settings.timeouts
        if state is SessionState.HELD:
            got, wanted = f"no other party that asks for the session within {timeouts.pair_s:g} s", "all shares by then"
        else:
            got, wanted = f"no turn within {timeouts.session_s:g} s", "a turn by then"
        remedy = "Check that the client reaches every party, and that the parties are not overloaded."
        self.give_up(session, SessionExpired(got, expected=wanted, remedy=remedy))

    def close(self, timeout_s: float) -> None:
        """Start no more sessions, and wait a little for those that run."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        end = time.monotonic() + timeout_s
        while self._sessions.count(SessionState.RUNNING) and time.monotonic() < end:
            time.sleep(0.02)

    def _run(self, session: HeldSession) -> None:
        """Run one session in its thread: every way out ends in an event, a closed ledger entry and closed streams."""
        if session.state is not SessionState.RUNNING:  # it ended while it waited for the thread
            return
        self._finish(session, self._attempt(session))
        if not self._sessions.count(SessionState.RUNNING):
            return_freed_memory()

    def _attempt(self, session: HeldSession) -> SessionEnd:
        origin = f"party{self._index}"
        try:
            return self._compute(session)
        except MpcvitError as error:
            failure = fresh(error)  # its traceback would keep the session's material
            failure.origin = failure.origin or origin
            return Failed(failure)
        except Exception as error:
            return Failed(unexpected(error, origin))

    def _compute(self, session: HeldSession) -> Finished:
        timeouts = self._settings.timeouts
        deadline = time.monotonic() + timeouts.session_s
        _check_wanted(session, deadline)
        self._connect_higher(session)
        name, spec = session.session_id.hex(), session.spec
        about = {"client": session.owner, "model": spec.model_name, "model_version": spec.model_version}
        self._ledger.burn(name, session=name, **about)
        failpoint(Failpoint.SESSION_BURNED)
        session.report("offline")
        link = GrpcLink(self._index, self._settings.parties, session.streams, timeouts.offline_s)
        online = self._engine.offline(session, link)
        return online(self._report(session, deadline))

    def _connect_higher(self, session: HeldSession) -> None:
        """Connect the peers of higher number that party 0 has not: those between followers."""
        for peer in (peer for peer in session.streams if peer > self._index > 0):
            self.connect(session, peer)
        self._sessions.wait_attached(session, self._settings.timeouts.pair_s)

    def _report(self, session: HeldSession, deadline: float) -> Callable[[int, int], None]:
        """Report progress to the client, and stop the session when it is given up or late."""
        step = 0.0

        def report(done: int, total: int) -> None:
            nonlocal step
            _check_wanted(session, deadline)
            if done == total or time.monotonic() - step > 0.1:
                step = time.monotonic()
                session.report("online", done, total)

        return report

    def _finish(self, session: HeldSession, event: SessionEnd) -> None:
        if self._sessions.end(session):
            self._close(session, event, burned=True)

    def _close(self, session: HeldSession, event: SessionEnd, *, burned: bool) -> None:
        """Let go of all that an ended session holds, and tell everybody; the client hears of it whatever happens."""
        name = session.session_id.hex()
        try:
            self._engine.release(session)
            session.share.fill(0)  # as far as Python lets us: the message that brought it may have left copies
            session.share = np.empty(0, dtype=np.int64)
            if isinstance(event, Failed):
                event.error.session_id = event.error.session_id or name
                event.error.phase = event.error.phase or session.phase
                self._tell_peers(session, event.error)
            for stream in session.streams.values():
                stream.finish()
            if burned:
                failpoint(Failpoint.RESULT_READY)
                outcome = event.error.reason if isinstance(event, Failed) else "done"
                self._ledger.close_session(name, outcome, AuditEvent.SESSION_ENDED, session=name)
        except MpcvitError as error:
            log.warning("session %s ended, but not in order: %s", name, error)
        except Exception as error:
            unexpected(error, f"party{self._index}")
        finally:
            session.events.put(event)
            self._ended(session, event)
            kept_s = self._settings.timeouts.session_s
            self._sessions.after(session, SessionState.ENDED, kept_s, lambda: self._sessions.remove(session.session_id))

    def _tell_peers(self, session: HeldSession, error: MpcvitError) -> None:
        """Tell peers, if possible, that this party gave up, and why; nobody waits for it."""
        request = peer_pb2.AbortSessionRequest(session_id=session.session_id, reason=error.reason)
        for peer in session.streams:
            try:
                self._peers[peer].AbortSession.future(request, timeout=1)
            except (grpc.RpcError, ValueError):  # ValueError is gRPC's word for a closed channel
                log.info("party %d did not hear of the end of session %s", peer, session.session_id.hex())


def stopping() -> Draining:
    """Return why a party that stops does not go on with a session."""
    return Draining("a party that stops", expected="one that finishes its sessions", remedy="Retry later.")


def _check_wanted(session: HeldSession, deadline: float) -> None:
    session.require_wanted()
    if time.monotonic() > deadline:
        raise SessionExpired(
            "a session past its time",
            expected="a result within 'timeouts.session_s'",
            remedy="Raise the timeout, or use a smaller model.",
        )
