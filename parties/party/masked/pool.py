"""A pool of prepared material: filled while the party is idle, and for the sessions that wait."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from mpcvit.errors import DealerError, MaterialExhausted, MpcvitError, PeerError
from parties.common.failure import fresh, unexpected
from parties.party.masked.role import NOT_YET

log = logging.getLogger("mpcvit.pool")
#: Seconds until a failed attempt is repeated when somebody waits, and, growing, when nobody does.
_SOON_S = 0.2
_RETRY_S = (1.0, 5.0)
#: Seconds after which somebody who waits looks again whether there is still a reason to.
_LOOK_S = 0.25

Entry = TypeVar("Entry")


class MaterialPool(Generic[Entry]):
    """Entries made by one background thread.

    Preparing material slows the session that runs. So while one runs, from :meth:`take` until :meth:`finish`, entries
    are made only for sessions that wait already.

    Args:
        make: makes one entry; may take seconds, may fail.
        size: how many wait ready while the party is idle.
        ahead: for how many sessions that wait for their turn entries are made ahead.
        patience_s: for so long those who wait are not told that the peer or the dealer cannot be reached: when all
            processes start at once, connections need some attempts.
        missing: why nothing can be made now, if that is known; then nothing is tried.
    """

    def __init__(
        self,
        make: Callable[[], Entry],
        *,
        size: int,
        ahead: int,
        patience_s: float,
        missing: Callable[[], MpcvitError | None],
    ) -> None:
        self._make, self._size, self._ahead, self._patience_s, self._missing = make, size, ahead, patience_s, missing
        self._asked = 0.0
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque()
        self._waiting: deque[object] = deque()  # a ticket for each who waits, the longest first
        self._expected = 0
        self._running = 0
        self._failures = 0
        self._made_s = 0.0
        self._error: MpcvitError | None = None
        self._trouble: str | None = NOT_YET
        self._closed = False
        self._thread = threading.Thread(target=self._fill, name="pool", daemon=True)
        self._thread.start()

    def take(self, hold: Callable[[Entry], None], timeout_s: float, wanted: Callable[[], None]) -> Entry:
        """Return the oldest entry, given to ``hold`` before it leaves the pool; waits for one if there is none.

        Who waits longest is served first. The entry's user calls :meth:`finish` at the end.

        Args:
            wanted: asked now and then while this waits; raises if nobody needs the entry any more.

        Raises:
            MpcvitError: what the attempt to make one failed with, or what ``wanted`` raises.
            MaterialExhausted: there is none, and none can be made, or none was in time.
        """
        with self._changed:
            if not self._entries and (missing := self._missing()) is not None:
                raise _exhausted(f"no prepared material, and {missing.got}", missing.remedy, None)
            ticket = object()
            self._waiting.append(ticket)
            self._error = None
            self._asked = time.monotonic()
            self._changed.notify_all()
            try:
                self._wait(ticket, timeout_s, wanted)
                hold(self._entries[0])
                self._running += 1
                return self._entries.popleft()
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def expect(self, count: int) -> None:
        """Note that so many sessions wait for their turn."""
        with self._changed:
            self._expected = count
            self._changed.notify_all()

    def entries(self) -> list[Entry]:
        """Return what waits ready."""
        with self._changed:
            return list(self._entries)

    @property
    def lacking(self) -> str | None:
        """Why there is no entry and the last attempt made none; None if there is one, or it did."""
        with self._changed:
            return None if self._entries else self._trouble

    def clear(self) -> None:
        """Drop what waits, and make it anew."""
        with self._changed:
            self._entries.clear()
            self._changed.notify_all()

    def finish(self) -> None:
        """Note that the user of an entry is done with it."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Make no more, and drop what is there."""
        with self._changed:
            self._closed = True
            self._entries.clear()
            self._changed.notify_all()

    def _wait(self, ticket: object, timeout_s: float, wanted: Callable[[], None]) -> None:
        """Return once it is the ticket's turn and there is an entry; raise if there will be none."""
        end = time.monotonic() + timeout_s

        def mine() -> bool:
            return bool(self._entries) and self._waiting[0] is ticket

        while not self._changed.wait_for(lambda: mine() or self._error, _LOOK_S):
            wanted()
            if (missing := self._missing()) is not None:
                raise missing
            if time.monotonic() > end:
                raise _exhausted(
                    f"no material within {timeout_s:g} s",
                    "Give dealer and parties more CPU or bandwidth, or a larger pool.",
                    self._made_s * len(self._waiting) or None,
                )
        if not mine() and self._error is not None:
            raise fresh(self._error)

    def _wanted(self) -> bool:
        """Whether to make an entry now."""
        idle = 0 if self._running else self._size
        return self._closed or len(self._entries) < max(idle, len(self._waiting) + min(self._expected, self._ahead))

    def _fill(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._wanted)
                if self._closed:
                    return
            start = time.monotonic()
            try:
                if (missing := self._missing()) is not None:
                    raise missing
                entry = self._make()
            except MpcvitError as error:
                self._failed(fresh(error))
            except Exception as error:
                self._failed(unexpected(error, "this party"))
            else:
                with self._changed:
                    self._made_s, self._failures, self._trouble = time.monotonic() - start, 0, None
                    if not self._closed:
                        self._entries.append(entry)
                    self._changed.notify_all()
                del entry
                log.info("material is ready")

    def _failed(self, error: MpcvitError) -> None:
        """Tell those who wait, in the end; without any, try again later."""
        with self._changed:
            self._trouble = error.reason
            patient = isinstance(error, (PeerError, DealerError)) and time.monotonic() < self._asked + self._patience_s
            if self._waiting and patient and self._missing() is None:
                self._changed.wait(_SOON_S)
                return
            if not self._waiting:
                log.info("no material yet: %s", error.reason)
                pause = min(_RETRY_S[0] * 2**self._failures, _RETRY_S[1])
                self._failures += 1
                self._changed.wait_for(lambda: self._closed or self._waiting, pause)
                return
            self._error = error
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._error is None or not self._waiting)


def _exhausted(got: str, remedy: str, retry_after_s: float | None) -> MaterialExhausted:
    return MaterialExhausted(got, expected="prepared material", remedy=remedy, retry_after_s=retry_after_s)
