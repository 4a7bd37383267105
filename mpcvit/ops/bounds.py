"""What is known of every element of a value, whatever the picture: interval arithmetic on codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.ops.types import Shape


@dataclass(frozen=True, eq=False)
class Bounds:
    """An interval for every element of a value, ends included.

    The numbers are codes in float64, so that rules need no fractional bits. Beyond 2**53 they are good to a relative
    2**-53, which is nothing beside the coarse grid on which bounds are published.

    Attributes:
        lo, hi: float64, of the value's shape without batch axis; lo <= hi.
    """

    lo: torch.Tensor
    hi: torch.Tensor

    @classmethod
    def exactly(cls, codes: torch.Tensor) -> Bounds:
        """Return known values."""
        return cls(codes.double(), codes.double())

    @classmethod
    def within(cls, lo: float, hi: float, shape: Shape) -> Bounds:
        """Return one interval for all elements."""
        return cls(torch.full(shape, lo, dtype=torch.float64), torch.full(shape, hi, dtype=torch.float64))

    @classmethod
    def up_to(cls, magnitude: torch.Tensor) -> Bounds:
        """Return the elements of at most these magnitudes."""
        return cls(-magnitude, magnitude)

    @property
    def magnitude(self) -> torch.Tensor:
        """The largest absolute value of each element."""
        return torch.maximum(self.lo.abs(), self.hi.abs())

    @property
    def hull(self) -> tuple[float, float]:
        """The interval that holds all elements."""
        return float(self.lo.min()), float(self.hi.max())

    def meet(self, other: Bounds) -> Bounds:
        """Return what both say."""
        return Bounds(torch.maximum(self.lo, other.lo), torch.minimum(self.hi, other.hi))

    def times(self, factor: float) -> Bounds:
        """Return the bounds of ``factor`` times the value; the factor is positive."""
        return Bounds(self.lo * factor, self.hi * factor)
