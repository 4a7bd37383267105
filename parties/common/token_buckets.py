"""Token buckets: how often something may be done in the long run, and how often at once after a pause."""

from __future__ import annotations

import threading
from collections.abc import Callable

#: Names that are remembered, before those that have been quiet for long are forgotten.
_REMEMBERED = 1024


class TokenBuckets:
    """A bucket for each name, full at first. Thread-safe.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: What is left in each bucket, and since when.
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str, *, rate: float, burst: int) -> float:
        """Return how many seconds it takes until there is a token; 0 if there is one now.

        Args:
            rate: tokens a second.
            burst: tokens in a full bucket.
        """
        with self._lock:
            left, _ = self._look(name, rate, burst)
            return max(0.0, (1 - left) / rate)

    def take(self, name: str, *, rate: float, burst: int) -> float:
        """Take a token if there is one; return how many seconds it takes until there is one, 0 if it was taken."""
        with self._lock:
            left, now = self._look(name, rate, burst)
            if left < 1:
                return (1 - left) / rate
            self._keep(name, left - 1, now)
            return 0.0

    def owe(self, name: str, *, rate: float, burst: int) -> None:
        """Take a token that may not be there yet; as many as a bucket holds may be owed."""
        with self._lock:
            left, now = self._look(name, rate, burst)
            self._keep(name, max(left - 1, -float(burst)), now)

    def _look(self, name: str, rate: float, burst: int) -> tuple[float, float]:
        now = self._clock()
        left, since = self._left.get(name, (float(burst), now))
        return min(float(burst), left + rate * (now - since)), now

    def _keep(self, name: str, left: float, now: float) -> None:
        self._left.pop(name, None)  # to the end: the first ones are those that have been quiet longest
        self._left[name] = left, now
        while len(self._left) > _REMEMBERED:
            del self._left[next(iter(self._left))]
