"""When to ask again after a failure."""

from __future__ import annotations

import secrets
import time

from mpcvit.errors import MpcvitError

_FIRST_S = 0.1
_LONGEST_S = 10.0


class Backoff:
    """Says how long to wait before the next session of one request.

    Args:
        retries: how many sessions there may be beyond the first.
        deadline: monotonic time at which the request ends.
    """

    def __init__(self, retries: int, deadline: float) -> None:
        self._left, self._deadline = retries, deadline
        self._least_s = _FIRST_S

    def pause_s(self, error: MpcvitError) -> float | None:
        """Return the seconds to wait after ``error``; None if a new session is of no use or would come too late.

        At least what the error asks for, at least twice as long as before, and up to half as long again, so that
        clients who were refused together do not come back together.
        """
        if error.retry_after_s is None or not self._left:
            return None
        self._left -= 1
        pause = max(error.retry_after_s, self._least_s) * (1 + secrets.randbelow(501) / 1000)
        self._least_s = min(2 * self._least_s, _LONGEST_S)
        return pause if time.monotonic() + pause < self._deadline else None
