"""Which labels score enough, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from mpcvit.client.answers.answer import Answer, bits
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.manifest import Manifest


@dataclass(frozen=True, repr=False)
class Tags(Answer):
    """An answer of ``tags``.

    Attributes:
        labels: all names that there are.
        present: whether each of them scores enough.
    """

    labels: tuple[str, ...]
    present: tuple[bool, ...]

    @classmethod
    def of(cls, manifest: Manifest, codes: Codes) -> Self:
        return cls(manifest.labels, tuple(bits(codes).tolist()))

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that score enough, in the order of all labels."""
        return tuple(label for label, there in zip(self.labels, self.present, strict=True) if there)

    def to_json(self) -> dict[str, Any]:
        return {"tags": list(self.names)}
