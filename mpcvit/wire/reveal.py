"""What a model tells the client about a picture."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mpcvit.errors import ConfigError


class RevealKind(StrEnum):
    """Which part of the answer leaves the parties, as shares that only the client joins."""

    LOGITS = "logits"
    TOPK = "topk"
    LABEL = "label"


@dataclass(frozen=True)
class Disclosure:
    """All logits; or the likeliest labels in order and nothing else, found under MPC.

    Attributes:
        kind: which.
        top: how many labels: 1 for ``label``, at least 1 for ``topk``, 0 for ``logits``.

    Raises:
        ConfigError: ``top`` does not fit ``kind``.
    """

    kind: RevealKind = RevealKind.LOGITS
    top: int = 0

    def __post_init__(self) -> None:
        allowed = {RevealKind.LOGITS: self.top == 0, RevealKind.LABEL: self.top == 1, RevealKind.TOPK: self.top >= 1}
        if not allowed[self.kind]:
            raise ConfigError(
                f"reveal {self.kind} with top {self.top}",
                expected="a top of at least 1 for topk, and none for logits and label",
                remedy="Say how many labels to reveal with topk, and only there.",
            )

    @classmethod
    def label(cls) -> Disclosure:
        """Return the likeliest label alone."""
        return cls(RevealKind.LABEL, 1)

    @classmethod
    def topk(cls, top: int) -> Disclosure:
        """Return the ``top`` likeliest labels, likeliest first."""
        return cls(RevealKind.TOPK, top)

    @classmethod
    def parse(cls, kind: str, top: int | None = None) -> Disclosure:
        """Return what ``kind`` and ``top`` on a command line mean.

        Raises:
            ConfigError: no such kind, or ``top`` does not fit it.
        """
        if kind not in set(RevealKind):
            raise ConfigError(
                f"reveal '{kind}'", expected=f"one of {', '.join(RevealKind)}", remedy="Choose one of these."
            )
        known = RevealKind(kind)
        return cls(known, top if top is not None else 1 if known is RevealKind.LABEL else 0)

    @property
    def logits(self) -> bool:
        """Whether the client gets logits."""
        return self.kind is RevealKind.LOGITS

    def outputs(self, classes: int) -> int:
        """Return the codes in a result.

        Behind labels comes how many candidates took their places, for the client to check.
        """
        return classes if self.logits else self.top + 1

    def __str__(self) -> str:
        if self.logits:
            return "its logits"
        return "its likeliest label alone" if self.top == 1 else f"its {self.top} likeliest labels alone"


LOGITS = Disclosure()
"""What models reveal by default."""
