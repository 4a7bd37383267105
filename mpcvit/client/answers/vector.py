"""An embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mpcvit.client.answers.answer import Answer, real_numbers
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.manifest import Manifest


@dataclass(frozen=True, repr=False, eq=False)
class Vector(Answer):
    """An answer of ``vector``.

    Attributes:
        values: float64 [dimensions], not normalised.
    """

    values: npt.NDArray[np.float64]

    @classmethod
    def of(cls, manifest: Manifest, codes: Codes) -> Self:
        return cls(real_numbers(manifest, codes, "numbers"))

    def to_json(self) -> dict[str, Any]:
        return {"vector": self.values.tolist()}
