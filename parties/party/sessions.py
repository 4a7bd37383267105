"""The sessions that a party holds, and what happens to each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from mpcvit.errors import MpcvitError, NotAllowed, SessionExpired, SessionReplayed, SessionUnknown
from mpcvit.ring.fixed_point import Codes
from mpcvit.store.shared import ModelShare
from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.stats import Stats
from mpcvit.wire.v1 import session_pb2
from parties.common.failure import fresh
from parties.common.session_record import Timeline
from parties.party.peer_stream import PeerStream


class SessionState(Enum):
    """Where a session is.

    HELD: this party has its client's share; nothing is burned, no material is taken.
    READY: every party has; it waits for its turn.
    RUNNING: its id is burned.
    ENDED: its last event is known.
    """

    HELD = auto()
    READY = auto()
    RUNNING = auto()
    ENDED = auto()


@dataclass(frozen=True)
class Progress:
    """How far a session is."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True, repr=False)
class Finished:
    """A session that succeeded: this party's share of the result, and what it cost."""

    result: ResultShare
    stats: Stats


@dataclass(frozen=True, repr=False)
class Failed:
    """A session that did not."""

    error: MpcvitError


SessionEnd = Finished | Failed
Event = Progress | SessionEnd


@dataclass(repr=False, eq=False)
class HeldSession:
    """One session at this party.

    Attributes:
        spec: what all parties must agree on.
        owner: the client that submitted it; nobody else gets the result.
        model, share: what to run on what.
        streams: to and from the peers, by number.
        state: changed by the :class:`SessionTable` alone.
        phase: what was done last: ``pairing``, ``waiting``, ``offline`` or ``online``.
        dealer: number of the dealer that deals, as party 0 says.
        failure: why the session is to end; whoever works for it looks now and then.
        expiry: ends a session that waits too long, or drops a result that nobody fetches.
        timeline: when it entered its phases.
    """

    spec: session_pb2.SessionSpec
    owner: str
    model: ModelShare
    share: Codes
    streams: dict[int, PeerStream]
    state: SessionState = SessionState.HELD
    phase: str = "pairing"
    failure: MpcvitError | None = None
    dealer: int = 0
    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    attached: set[int] = field(default_factory=set)
    fetched: bool = False
    followed: threading.Lock = field(default_factory=threading.Lock)
    expiry: threading.Timer | None = None
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def session_id(self) -> bytes:
        """16 bytes."""
        return self.spec.session_id

    def report(self, phase: str, done: int = 0, total: int = 1) -> None:
        """Note how far the session is, and tell its client."""
        self.phase = phase
        self.timeline.enter(phase)
        self.events.put(Progress(phase, done, total))

    def require_wanted(self) -> None:
        """Raise why the session is to end, if it is."""
        if self.failure is not None:
            raise fresh(self.failure)

    def follow(self, timeout_s: float) -> Iterator[Event]:
        """Yield progress as it happens, then how the session ended. One call at a time.

        Raises:
            SessionExpired: nothing for ``timeout_s`` seconds.
            NotAllowed: somebody follows the session already.
        """
        if not self.followed.acquire(blocking=False):
            raise NotAllowed(
                "a second fetch of a session's result",
                expected="one at a time",
                remedy="Wait for the first.",
            )
        try:
            yield from self._follow(timeout_s)
        finally:
            self.followed.release()

    def _follow(self, timeout_s: float) -> Iterator[Event]:
        while True:
            try:
                event = self.events.get(timeout=timeout_s)
            except queue.Empty:
                raise SessionExpired(
                    f"no progress for {timeout_s:g} s",
                    expected="a result",
                    remedy="Retry; the client makes a new session.",
                ) from None
            yield event
            if not isinstance(event, Progress):
                return


class SessionTable:
    """Thread-safe map from session id to session, and the only place where a session's state changes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sessions: dict[bytes, HeldSession] = {}

    def add(self, session: HeldSession) -> None:
        """Hold ``session``.

        Raises:
            SessionReplayed: one with its id is held.
        """
        with self._changed:
            if session.session_id in self._sessions:
                raise SessionReplayed(
                    "a session id that is in use",
                    expected="a session id that was never used",
                    remedy="Make a new session for every inference; the SDK does.",
                )
            self._sessions[session.session_id] = session
            self._changed.notify_all()

    def move(self, session: HeldSession, state: SessionState, *, before: SessionState) -> bool:
        """Let ``session`` go from ``before`` to ``state``; False, and no change, if it is elsewhere."""
        with self._changed:
            if session.state is not before:
                return False
            session.state = state
            self._stop_timer(session)
            self._changed.notify_all()
            return True

    def end(self, session: HeldSession) -> bool:
        """Let ``session`` end, wherever it is; False if it had ended before."""
        with self._changed:
            if session.state is SessionState.ENDED:
                return False
            session.state = SessionState.ENDED
            self._stop_timer(session)
            self._changed.notify_all()
            return True

    def remove(self, session_id: bytes) -> None:
        """Forget a session and its result."""
        with self._changed:
            session = self._sessions.pop(session_id, None)
            if session is not None:
                self._stop_timer(session)

    def after(self, session: HeldSession, state: SessionState, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` after so many seconds in ``state``, unless the session is in another by now or until then."""
        with self._changed:
            if session.state is not state:
                return
            self._stop_timer(session)
            session.expiry = threading.Timer(seconds, act)
            session.expiry.daemon = True
            session.expiry.start()

    def count(self, *states: SessionState) -> int:
        """Return how many sessions are in one of ``states``."""
        with self._changed:
            return sum(session.state in states for session in self._sessions.values())

    def held_by(self, owner: str) -> int:
        """Return how many sessions a client holds, results that wait to be fetched included."""
        with self._changed:
            return sum(session.owner == owner for session in self._sessions.values())

    def all(self) -> list[HeldSession]:
        """Return all sessions held now, the oldest first."""
        with self._changed:
            return list(self._sessions.values())

    def find(self, session_id: bytes) -> HeldSession | None:
        """Return the session of that id, if it is held."""
        with self._changed:
            return self._sessions.get(session_id)

    def owned(self, session_id: bytes, owner: str) -> HeldSession:
        """Return the session, if ``owner`` submitted it.

        Raises:
            SessionUnknown: not held here (never submitted, expired, or its result was fetched).
            NotAllowed: somebody else's.
        """
        session = self.find(session_id)
        if session is None:
            raise SessionUnknown(
                "a session that is not held here",
                expected="a session that was submitted, has not expired and was not fetched",
                remedy="Submit a new session.",
            )
        if session.owner != owner:
            raise NotAllowed(
                f"a session of another client, asked for by '{owner}'",
                expected="the client that submitted it",
                remedy="Use the certificate with which the session was submitted.",
            )
        return session

    def wait_for(self, session_id: bytes, timeout_s: float, wanted: Callable[[], bool] = lambda: True) -> HeldSession:
        """Return the session, as soon as its client has submitted it here.

        Args:
            wanted: asked again at every change and :meth:`look_again`; the wait ends once it is False.

        Raises:
            SessionExpired: the client did not within ``timeout_s`` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: session_id in self._sessions or not wanted(), timeout_s)
            session = self._sessions.get(session_id)
        if session is None:
            raise SessionExpired(
                f"no share from the client within {timeout_s:g} s",
                expected="shares at all parties",
                remedy="Check that the client reaches every party.",
            )
        return session

    def look_again(self) -> None:
        """Let those who wait ask again whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def attach(self, session: HeldSession, peer: int) -> PeerStream:
        """Return the stream for ``peer``, which connected; once per session and peer.

        Raises:
            NotAllowed: it is connected already.
        """
        with self._changed:
            if peer in session.attached or peer not in session.streams:
                raise NotAllowed(
                    f"a second stream from party {peer}",
                    expected="one stream per pair of parties and session",
                    remedy="Check for two processes with this party's certificate.",
                )
            session.attached.add(peer)
            self._changed.notify_all()
            return session.streams[peer]

    def wait_attached(self, session: HeldSession, timeout_s: float) -> None:
        """Block until every peer's stream is connected, or the session is given up.

        Raises:
            SessionExpired: one is missing after ``timeout_s`` seconds.
        """
        with self._changed:
            complete = self._changed.wait_for(
                lambda: session.attached == set(session.streams) or session.failure is not None, timeout_s
            )
        if not complete:
            missing = sorted(set(session.streams) - session.attached)
            raise SessionExpired(
                f"no stream from party {', '.join(map(str, missing))} within {timeout_s:g} s",
                expected="a stream from every peer",
                remedy="Check that all parties run and reach each other on their peer ports.",
            )

    @staticmethod
    def _stop_timer(session: HeldSession) -> None:
        if session.expiry is not None:
            session.expiry.cancel()
            session.expiry = None
