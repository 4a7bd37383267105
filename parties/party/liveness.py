"""Whether another role is there: asked every second, so that nobody waits for one that is not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from mpcvit.errors import DealerError, MpcvitError, Overloaded, PeerError
from parties.common.failure import fresh, unexpected

log = logging.getLogger("mpcvit.liveness")

#: Seconds between two questions, and between attempts to reach a role that is not there.
_PAUSE_S = 1.0
_RETRY_S = 0.25
#: Seconds in which a broken connection may come back before the role counts as lost.
_PATIENCE_S = 1.0


class Monitor:
    """One other role's signs of life.

    Args:
        role: e.g. ``party1`` or ``dealer``.
        check: asks the role, for at most so many seconds; raises MpcvitError if it does not answer or answers wrongly.
        stall_s: silence after which the role counts as lost.
        start_s: how long after our own start it may be missing.
        on_loss: called with the reason whenever the role is lost, from the monitor's thread.
    """

    def __init__(
        self,
        role: str,
        check: Callable[[float], None],
        *,
        stall_s: float,
        start_s: float,
        on_loss: Callable[[MpcvitError], None],
    ) -> None:
        self.role = role
        self._check, self._stall_s, self._on_loss = check, stall_s, on_loss
        self._heard = time.monotonic() + max(0.0, start_s - _PATIENCE_S)
        self._seen = False
        self._error: MpcvitError | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"monitor-{role}", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    @property
    def lost(self) -> MpcvitError | None:
        """Why the role counts as lost; None if it does not, or if it may still be starting."""
        error = self._error
        return None if error is None else fresh(error)

    @property
    def present(self) -> bool:
        """Whether the role has answered, and is not lost since."""
        return self._seen and self._error is None

    @property
    def silence_s(self) -> float:
        """Seconds since its last answer."""
        return max(0.0, time.monotonic() - self._heard)

    def require(self) -> None:
        """Raise the reason if the role counts as lost."""
        if (error := self.lost) is not None:
            raise error

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._check(self._stall_s)
            except Overloaded:  # it has much to do, so it lives; what else was wrong with it was not looked at
                self._heard = time.monotonic()
                if isinstance(self._error, (PeerError, DealerError)):
                    self._error = None
                self._closed.wait(_PAUSE_S)
            except MpcvitError as error:
                self._failed(error)
                self._closed.wait(_RETRY_S)
            except Exception as error:
                self._failed(unexpected(error, "this process"))
                self._closed.wait(_RETRY_S)
            else:
                self._answered()
                self._closed.wait(_PAUSE_S)

    def _answered(self) -> None:
        if self._error is not None or not self._seen:
            log.info("%s is there", self.role)
        self._heard, self._seen, self._error = time.monotonic(), True, None

    def _failed(self, error: MpcvitError) -> None:
        known = self._error
        if self._closed.is_set() or type(known) is type(error):
            return
        if known is not None:  # what is wrong now says more than what was wrong first
            self._error = fresh(error)
            log.warning("%s is still lost: %s", self.role, error)
            return
        patient = isinstance(error, (PeerError, DealerError)) and time.monotonic() < self._heard + _PATIENCE_S
        if patient:
            return
        self._error = fresh(error)
        log.warning("%s is lost: %s", self.role, error)
        self._on_loss(fresh(error))
