"""Whether a service is ready for work, and if not, why."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

log = logging.getLogger("mpcvit.readiness")

#: Returns None, or in a few words why the service can do no work. The words change only when the reason does.
Condition = Callable[[], str | None]
#: The name under which a service that stops is not ready.
STOPPING = "stopping"
_PAUSE_S = 1.0


class Readiness:
    """What a service needs, looked at every second; every change is logged.

    Args:
        role: of this process.
        conditions: by their names. They return at once, and are called by one thread.
    """

    def __init__(self, role: str, conditions: Mapping[str, Condition]) -> None:
        self._role, self._conditions = role, dict(conditions)
        self._unmet: dict[str, str] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)

    @property
    def conditions(self) -> list[str]:
        """The names of all conditions."""
        return list(self._conditions)

    @property
    def unmet(self) -> dict[str, str]:
        """By the names of conditions that are not met, why not; empty if the service is ready."""
        if self._stopping.is_set():
            return {STOPPING: "the service stops"}
        return {"starting": "the service starts"} if self._unmet is None else self._unmet

    @property
    def ready(self) -> bool:
        """Whether the service can work now."""
        return not self.unmet

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Be ready no more: the service takes no new work."""
        self._stopping.set()

    def look(self) -> None:
        """Look at all conditions now."""
        before = self._unmet
        self._unmet = {name: why for name, met in self._conditions.items() if (why := _ask(met)) is not None}
        if self._unmet and self._unmet != before:
            log.warning("%s is not ready: %s", self._role, sentence(self._unmet), extra={"unmet": self._unmet})
        elif not self._unmet and before != {}:
            log.info("%s is ready", self._role)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(_PAUSE_S)


def sentence(unmet: Mapping[str, str]) -> str:
    """Return reasons as text."""
    return "; ".join(f"{name}: {why}" for name, why in unmet.items())


def _ask(condition: Condition) -> str | None:
    try:
        return condition()
    except Exception as error:
        return f"cannot be found out ({type(error).__name__})"
