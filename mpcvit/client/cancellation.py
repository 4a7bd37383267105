"""A caller's wish to give up."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Cancellation:
    """Wakes everything that waits on behalf of one request, or of a batch of them, when the caller gives up.

    Threads may share it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._wanted = False

    @property
    def wanted(self) -> bool:
        """Whether the caller has given up."""
        return self._wanted

    def set(self) -> None:
        """Give up."""
        self._wanted = True
        self.notify()

    def notify(self) -> None:
        """Make whoever waits look again at what it waits for."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Block until ``ready`` holds, the caller gives up or ``timeout_s`` seconds are over, whichever comes first."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or ready(), timeout_s)

    def sleep(self, seconds: float) -> None:
        """Block for so many seconds, or until the caller gives up."""
        self.wait_for(lambda: False, seconds)
