"""What checks of a set-up find: for ``mpcvit diagnose`` and ``mpcvit preflight``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from mpcvit.errors import MpcvitError


@dataclass(frozen=True)
class SetupFinding:
    """Whether one thing that must hold does.

    Attributes:
        subject: what was looked at, e.g. ``certificate`` or ``party1``.
        error: what is wrong with it; None if nothing is.
        fact: what was seen, if it is good, e.g. ``valid for 364 days``.
    """

    subject: str
    error: MpcvitError | None = None
    fact: str = ""

    @classmethod
    def of(cls, subject: str, check: Callable[[], str]) -> Self:
        """Return the finding of ``check``, which returns a fact or raises an :class:`MpcvitError`."""
        try:
            return cls(subject, fact=check())
        except MpcvitError as error:
            return cls(subject, error)

    @property
    def as_json(self) -> dict[str, str | bool]:
        """The same for ``--json``."""
        error = self.error
        return {
            "ok": error is None,
            "reason": error.reason if error else "",
            "error": str(error or ""),
            "fact": self.fact,
        }
