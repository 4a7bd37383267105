"""The sessions that a party holds, and what happens to each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from mpcvit.client.result import Stats
from mpcvit.errors import MpcvitError, NotAllowed, SessionExpired, SessionUnknown
from mpcvit.program.shares import ModelShare
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.v1 import session_pb2
from parties.peer_stream import PeerStream


@dataclass(frozen=True)
class Progress:
    """How far a session is."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True, repr=False)
class Finished:
    """A session that succeeded: this party's share of the result, and what it cost."""

    result: Codes
    stats: Stats


@dataclass(frozen=True, repr=False)
class Failed:
    """A session that did not."""

    error: MpcvitError


Event = Progress | Finished | Failed


@dataclass(repr=False)
class HeldSession:
    """One session at this party.

    Attributes:
        spec: what all parties must hold alike.
        owner: the client that submitted it; nobody else gets the result.
        model, share: what to run on what.
        streams: to and from the peers, by number.
    """

    spec: session_pb2.SessionSpec
    owner: str
    model: ModelShare
    share: Codes
    streams: dict[int, PeerStream]
    cancelled: threading.Event = field(default_factory=threading.Event)
    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    attached: set[int] = field(default_factory=set)
    fetched: bool = False
    expiry: threading.Timer | None = None

    @property
    def session_id(self) -> bytes:
        """16 bytes."""
        return self.spec.session_id

    def follow(self, timeout_s: float) -> Iterator[Event]:
        """Progress as it happens, then how the session ended.

        Raises:
            SessionExpired: nothing for ``timeout_s`` seconds.
        """
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
    """Thread-safe map from session id to session."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sessions: dict[bytes, HeldSession] = {}

    def add(self, session: HeldSession) -> None:
        """Hold ``session``; the ledger has made sure that its id is new."""
        with self._changed:
            self._sessions[session.session_id] = session
            self._changed.notify_all()

    def remove(self, session_id: bytes) -> None:
        """Forget a session and its result."""
        with self._changed:
            session = self._sessions.pop(session_id, None)
        if session and session.expiry:
            session.expiry.cancel()

    def expire(self, session: HeldSession, after_s: float) -> None:
        """Remove ``session`` after so many seconds, if nobody does before."""
        session.expiry = threading.Timer(after_s, self.remove, args=(session.session_id,))
        session.expiry.daemon = True
        session.expiry.start()

    def unfinished(self) -> int:
        """How many sessions run or wait to run; results that wait to be fetched do not count."""
        with self._changed:
            return sum(session.expiry is None for session in self._sessions.values())

    def all(self) -> list[HeldSession]:
        """All sessions held now."""
        with self._changed:
            return list(self._sessions.values())

    def owned(self, session_id: bytes, owner: str) -> HeldSession:
        """The session, if ``owner`` submitted it.

        Raises:
            SessionUnknown: not held here (never submitted, expired, or its result was fetched).
            NotAllowed: somebody else's.
        """
        with self._changed:
            session = self._sessions.get(session_id)
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

    def wait_for(self, session_id: bytes, timeout_s: float) -> HeldSession:
        """The session, as soon as its client has submitted it here.

        Raises:
            SessionExpired: the client did not within ``timeout_s`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: session_id in self._sessions, timeout_s):
                raise SessionExpired(
                    f"no share from the client within {timeout_s:g} s",
                    expected="shares at all parties",
                    remedy="Check that the client reaches every party.",
                )
            return self._sessions[session_id]

    def attach(self, session: HeldSession, peer: int) -> PeerStream:
        """The stream for ``peer``, which connected; once per session and peer.

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
        """Block until every peer's stream is connected.

        Raises:
            SessionExpired: one is missing after ``timeout_s`` seconds.
        """
        with self._changed:
            complete = self._changed.wait_for(
                lambda: session.attached == set(session.streams) or session.cancelled.is_set(), timeout_s
            )
        if not complete:
            missing = sorted(set(session.streams) - session.attached)
            raise SessionExpired(
                f"no stream from party {', '.join(map(str, missing))} within {timeout_s:g} s",
                expected="a stream from every peer",
                remedy="Check that all parties run and reach each other on their peer ports.",
            )

    def cancel(self, session: HeldSession) -> None:
        """Make the session's thread stop at its next step."""
        with self._changed:
            session.cancelled.set()
            self._changed.notify_all()
