"""Piecewise polynomials with arbitrary knots: reciprocals and reciprocal roots of a few elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op
from mpcvit.ops.polynomial import extremes
from mpcvit.ops.types import Shape, TensorType


def check_domain(name: str, x: TensorType, input_frac: int, lo: int, hi: int) -> None:
    """Raise unless ``x`` has the fractional bits and lies in the codes [lo, hi] for which a spline was fitted."""
    if x.frac != input_frac:
        raise ProgramError(
            f"{name} of {x}",
            expected=f"an input with {input_frac} fractional bits",
            remedy="Insert a rescale before the spline at export.",
        )
    scale = 2.0**x.frac
    if x.qtype.lo * scale < lo - 1 or x.qtype.hi * scale > hi + 1:
        raise RangeError(
            f"{name} input in [{x.qtype.lo:g}, {x.qtype.hi:g}]",
            expected=f"[{lo / scale:g}, {hi / scale:g}], where its error bound holds",
            remedy="Fit the spline on a wider range, or calibrate with more data.",
        )


def horner(rows: Sequence[torch.Tensor], local: torch.Tensor) -> torch.Tensor:
    """Return sum_m rows[m] * local**m mod 2**64."""
    result = rows[-1]
    for row in reversed(rows[:-1]):
        result = result * local + row
    return result


@dataclass(frozen=True)
class Spline(Op):
    """A polynomial of one degree per segment in u = x - origin, evaluated exactly in the ring.

    Segment s covers codes from ``origins[s]`` to ``origins[s + 1]``; the first also what lies left of it, the last what
    lies right. Nothing is rounded: c_m has ``frac - m * input_frac`` fractional bits, so the result has ``frac``, many;
    a rescale follows. Powers of u may exceed the ring on the way, the result does not.

    On stock shares: all comparisons in one batch (8 rounds for 2 parties), one product per degree.

    Attributes:
        origins: left ends of the segments, codes of the input, strictly ascending; one per segment.
        coefficients: per segment c_0 .. c_degree.
        input_frac, frac: fractional bits of input and result.
        lo, hi: the codes for which the error bound was proven at export; lo <= origins[-1] <= hi.
    """

    name: ClassVar[str] = "spline"
    guardable: ClassVar[bool] = True
    origins: tuple[int, ...]
    coefficients: tuple[tuple[int, ...], ...]
    input_frac: int
    frac: int
    lo: int
    hi: int

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.origins, self.origins[1:], strict=False))
        one_degree = len({len(row) for row in self.coefficients}) == 1
        inside = bool(self.origins) and self.lo <= self.origins[-1] <= self.hi
        if not (ascending and one_degree and inside and len(self.origins) == len(self.coefficients)):
            raise ProgramError(
                f"a spline of {len(self.origins)} origins and {len(self.coefficients)} coefficient rows",
                expected="ascending origins inside the domain and an equally long row each",
                remedy="Build splines with mpcvit.export.spline_fit.",
            )

    @property
    def degree(self) -> int:
        """Degree of every segment's polynomial."""
        return len(self.coefficients[0]) - 1

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        check_domain(self.name, x, self.input_frac, self.lo, self.hi)
        return x.shape, self.frac

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        ends = [extremes(row, start - origin, end - origin) for row, origin, start, end in self.pieces(*x.hull)]
        return Bounds.within(min(lo for lo, _ in ends), max(hi for _, hi in ends), tuple(x.lo.shape))

    def pieces(self, lo: float, hi: float) -> list[tuple[tuple[int, ...], int, float, float]]:
        """Return (polynomial in x - origin, origin, start, end) of every segment that x in [lo, hi] may lie in."""
        lo, hi = max(lo, self.lo), min(hi, self.hi)
        starts, ends = [lo, *(max(origin, lo) for origin in self.origins[1:])], [*self.origins[1:], hi]
        return [
            (row, origin, start, min(end, hi))
            for row, origin, start, end in zip(self.coefficients, self.origins, starts, ends, strict=True)
            if start <= min(end, hi)
        ]

    def window(self, inputs: Sequence[TensorType]) -> tuple[int, int]:
        return self.lo, self.hi

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        origins = torch.tensor(self.origins)
        segment = torch.bucketize(x.contiguous(), origins[1:], right=True)
        rows = torch.tensor(self.coefficients)[segment]
        return horner(rows.unbind(-1), x - origins[segment])

    def relaxed(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        origins = torch.tensor(self.origins).to(x.dtype)
        segment = torch.bucketize(x.detach().contiguous(), origins[1:], right=True)
        rows = torch.tensor(self.coefficients).to(x.dtype)[segment]
        return horner(rows.unbind(-1), x - origins[segment])

    def macs(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return self.degree * x.size

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return (len(self.origins) - 1) * x.size
