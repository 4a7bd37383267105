"""A pool that is filled in the background while nothing else runs, and on demand when it is empty."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from mpcvit.errors import DealerError, DealerTimeout, MpcvitError, PeerError
from parties.failure import unexpected

log = logging.getLogger("mpcvit.pool")
#: Seconds until a failed attempt is repeated when nobody waits.
_RETRY_S = 1.0
#: ... and when somebody does.
_SOON_S = 0.2

Entry = TypeVar("Entry")


class MaterialPool(Generic[Entry]):
    """Entries made by one background thread.

    From :meth:`take` until :meth:`finish` nothing is made, unless somebody else waits: preparing material would slow
    the session that runs.

    Args:
        make: makes one entry; may take seconds, may fail.
        size: how many wait ready.
        patience_s: for so long those who wait are not told that the peer or the dealer cannot be reached: when all
            processes start at once, connections need some attempts.
    """

    def __init__(self, make: Callable[[], Entry], size: int, patience_s: float) -> None:
        self._make, self._size, self._patience_s = make, size, patience_s
        self._asked = 0.0
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque()
        self._waiting = 0
        self._running = 0
        self._error: MpcvitError | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._fill, name="pool", daemon=True)
        self._thread.start()

    def take(self, hold: Callable[[Entry], None], timeout_s: float) -> Entry:
        """The oldest entry, given to ``hold`` before it leaves the pool; waits for one if there is none.

        Its user calls :meth:`finish` at the end.

        Raises:
            MpcvitError: what the attempt to make one failed with.
            DealerTimeout: none in time.
        """
        with self._changed:
            self._waiting += 1
            self._error = None
            self._asked = time.monotonic()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._entries or self._error, timeout_s)
            self._waiting -= 1
            if self._entries:
                self._running += 1
                hold(self._entries[0])
                return self._entries.popleft()
            if self._error is not None:
                raise self._error
        raise DealerTimeout(
            f"no material within {timeout_s:g} s",
            expected="prepared material",
            remedy="Give dealer and parties more CPU, a larger pool, or longer 'timeouts'.",
        )

    def entries(self) -> list[Entry]:
        """What waits ready."""
        with self._changed:
            return list(self._entries)

    def clear(self) -> None:
        """Drop what waits."""
        with self._changed:
            self._entries.clear()

    def finish(self) -> None:
        """The user of an entry is done with it."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Make no more, and drop what is there."""
        with self._changed:
            self._closed = True
            self._entries.clear()
            self._changed.notify_all()

    def _wanted(self) -> bool:
        idle = not self._running and len(self._entries) < self._size
        return self._closed or idle or self._waiting > len(self._entries)

    def _fill(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._wanted)
                if self._closed:
                    return
            try:
                entry = self._make()
            except MpcvitError as error:
                self._failed(error)
            except Exception as error:
                self._failed(unexpected(error, "this party"))
            else:
                with self._changed:
                    self._entries.append(entry)
                    self._changed.notify_all()
                log.info("material is ready")

    def _failed(self, error: MpcvitError) -> None:
        """Tell those who wait, in the end; without any, try again later."""
        with self._changed:
            patient = isinstance(error, (PeerError, DealerError)) and time.monotonic() < self._asked + self._patience_s
            if self._waiting and patient:
                self._changed.wait(_SOON_S)
                return
            if not self._waiting:
                log.info("no material yet: %s", error.reason)
                self._changed.wait_for(lambda: self._closed or self._waiting, _RETRY_S)
                return
            self._error = error
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._error is None or not self._waiting)
