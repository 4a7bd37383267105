"""The type of a tensor in a Program."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mpcvit.ring.qtype import QType

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorType:
    """Shape (without batch axis) and fixed-point type of one edge."""

    shape: Shape
    qtype: QType

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def frac(self) -> int:
        """Fractional bits."""
        return self.qtype.frac

    def __str__(self) -> str:
        return f"{list(self.shape)} frac={self.frac} in [{self.qtype.lo:g}, {self.qtype.hi:g}]"
