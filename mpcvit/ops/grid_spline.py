"""Piecewise polynomials on a uniform grid: GELU and exponentials of many elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op
from mpcvit.ops.polynomial import expand, extremes
from mpcvit.ops.spline import Spline, check_domain, horner
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class GridSpline(Op):
    """A polynomial of one degree per knot in u = x - knot, evaluated exactly in the ring; a rescale follows.

    Knots lie at ``origin + i * 2**shift``. x uses one of its two neighbours: the nearest by default; in the fast engine
    the upper one with probability equal to the fraction, because the borrow of the dropped bits is not computed. So
    every polynomial is fitted on both segments beside its knot.

    On stock shares: a comparison for every boundary where the polynomial changes, then as :class:`Spline`.

    Attributes:
        origin: first knot, a code of the input.
        shift: log2 of the distance of knots, in codes; at least 1.
        coefficients: per knot c_0 .. c_degree; a power of two of rows, c_m with ``frac - m * input_frac`` fractional
            bits.
        input_frac, frac: fractional bits of input and result.
    """

    name: ClassVar[str] = "grid_spline"
    guardable: ClassVar[bool] = True
    origin: int
    shift: int
    coefficients: tuple[tuple[int, ...], ...]
    input_frac: int
    frac: int

    def __post_init__(self) -> None:
        count = len(self.coefficients)
        if count < 2 or count & (count - 1) or self.shift < 1 or len({len(row) for row in self.coefficients}) != 1:
            raise ProgramError(
                f"a grid spline of {count} coefficient rows with knots 2**{self.shift} apart",
                expected="a power of two of equally long rows, and a distance of at least 2",
                remedy="Build splines with mpcvit.export.spline_fit.",
            )

    @property
    def degree(self) -> int:
        """Degree of every knot's polynomial."""
        return len(self.coefficients[0]) - 1

    @property
    def lo(self) -> int:
        """Least code of the domain: the first knot."""
        return self.origin

    @property
    def hi(self) -> int:
        """Largest code of the domain: the last knot."""
        return self.origin + ((len(self.coefficients) - 1) << self.shift)

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        check_domain(self.name, x, self.input_frac, self.lo, self.hi)
        return x.shape, self.frac

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        pieces = self.pieces(*x.hull)
        ends = [extremes(row, start - knot, end - knot) for row, knot, start, end in pieces]
        return Bounds.within(min(lo for lo, _ in ends), max(hi for _, hi in ends), tuple(x.lo.shape))

    def pieces(self, lo: float, hi: float) -> list[tuple[tuple[int, ...], int, float, float]]:
        """Return (polynomial in x - knot, knot, start, end) of every knot that x in [lo, hi] may use, on both sides of
        it.
        """
        lo, hi, step = max(lo, self.lo), min(hi, self.hi), 1 << self.shift
        knots = [self.origin + (index << self.shift) for index in range(len(self.coefficients))]
        return [
            (row, knot, max(knot - step, lo), min(knot + step, hi))
            for row, knot in zip(self.coefficients, knots, strict=True)
            if max(knot - step, lo) <= min(knot + step, hi)
        ]

    def window(self, inputs: Sequence[TensorType]) -> tuple[int, int]:
        return self.lo, self.hi

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        distance = x - self.origin
        knot = (distance + ((1 << (self.shift - 1)) if rounding is None else rounding)) >> self.shift
        rows = torch.tensor(self.coefficients)[knot & (len(self.coefficients) - 1)]
        return horner(rows.unbind(-1), distance - (knot << self.shift))

    def relaxed(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        distance = x - self.origin
        knot = (distance.detach() / 2.0**self.shift).round().clamp(0, len(self.coefficients) - 1)
        rows = torch.tensor(self.coefficients).to(x.dtype)[knot.long()]
        return horner(rows.unbind(-1), distance - knot * 2.0**self.shift)

    @cached_property
    def by_nearest_knot(self) -> Spline:
        """The same function by the nearest knot as a spline, neighbours with equal polynomials merged."""
        half = 1 << (self.shift - 1)
        origins, rows = [], []
        last: list[int] | None = None
        for index, row in enumerate(self.coefficients):
            knot = self.origin + (index << self.shift)
            if (whole := expand(row, knot)) != last:
                origins.append(knot - half)
                rows.append(tuple(expand(row, half)))
            last = whole
        return Spline(tuple(origins), tuple(rows), self.input_frac, self.frac, self.lo - half, self.hi)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return self.by_nearest_knot.macs(inputs)

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        return self.by_nearest_knot.comparisons(inputs)
