"""Whether a picture's embedding is like a secret reference: one bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from mpcvit.client.answers.answer import Answer, bits
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.manifest import Manifest


@dataclass(frozen=True, repr=False)
class Match(Answer):
    """An answer of ``match``.

    Attributes:
        matches: whether the cosine is at least the model's threshold.
    """

    matches: bool

    @classmethod
    def of(cls, manifest: Manifest, codes: Codes) -> Self:
        return cls(bool(bits(codes)[0]))

    def to_json(self) -> dict[str, Any]:
        return {"match": self.matches}
