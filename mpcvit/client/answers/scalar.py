"""One number: a quality, or what a regression estimates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from mpcvit.client.answers.answer import Answer, real_numbers
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.manifest import Manifest


@dataclass(frozen=True, repr=False)
class Scalar(Answer):
    """An answer of ``scalar``.

    Attributes:
        value: the number.
    """

    value: float

    @classmethod
    def of(cls, manifest: Manifest, codes: Codes) -> Self:
        return cls(float(real_numbers(manifest, codes, "a number")[0]))

    def to_json(self) -> dict[str, Any]:
        return {"scalar": self.value}
