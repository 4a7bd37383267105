"""Piecewise polynomials: GELU, exp, reciprocal, reciprocal square root from one gate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.ops.op import Op
from mpcvit.ops.rescale import round_shift
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import (
    less_than_zero,
    less_than_zero_correlations,
    multiply,
    multiply_correlations,
    shared,
    stack,
    truncate,
    truncate_correlations,
    truncation_error,
    wrap_probability,
)
from mpcvit.session.session import Session


@dataclass(frozen=True)
class Spline(Op):
    """A polynomial of one degree per segment, in the distance u = x - origin from the segment's left end.

    Segment s covers codes from ``origins[s]`` to ``origins[s + 1]``; the first also what lies left of it, the last what lies
    right. By Horner: y = (..(c_d u + c_{d-1}) u + ..) + c_0, each step rescaled by the input's fractional bits, then the guard
    bits are dropped. Local coordinates keep |u| small, so rounding is not amplified and coefficients stay short.

    On stock shares: all comparisons in one batch (8 rounds for 2 parties), coefficients selected locally, one product per
    degree. Segments cost bytes but no rounds.

    Attributes:
        origins: left ends of the segments, codes of the input, strictly ascending; one per segment.
        coefficients: per segment c_0 .. c_degree, codes with ``frac + guard`` fractional bits.
        input_frac: fractional bits of the input.
        frac: fractional bits of the result.
        guard: extra fractional bits of the evaluation, at least 1.
        lo, hi: the codes for which the error bound was proven at export; lo <= origins[1], origins[-1] <= hi.
    """

    name: ClassVar[str] = "spline"
    origins: tuple[int, ...]
    coefficients: tuple[tuple[int, ...], ...]
    input_frac: int
    frac: int
    guard: int
    lo: int
    hi: int

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.origins, self.origins[1:], strict=False))
        lengths = {len(row) for row in self.coefficients}
        well_formed = ascending and len(self.origins) == len(self.coefficients) and len(lengths) == 1
        if not well_formed or self.guard < 1 or not self.lo <= self.origins[-1] <= self.hi:
            raise ProgramError(
                f"a spline of {len(self.origins)} origins and {len(self.coefficients)} coefficient rows",
                expected="ascending origins inside the domain, one row each, rows of one length, guard >= 1",
                remedy="Build splines with mpcvit.export.spline_fit.",
            )
        if max(self._products()) >= 2**62:
            raise RangeError(
                f"products of up to 2**{math.log2(max(self._products())):.1f} inside a spline",
                expected="less than 2**62",
                remedy="Use fewer fractional bits or shorter segments.",
            )

    @property
    def degree(self) -> int:
        """Degree of every segment's polynomial."""
        return len(self.coefficients[0]) - 1

    def _reach(self) -> int:
        """Largest |u| in codes of the input."""
        ends = (*self.origins[1:], self.hi)
        spans = [end - start for start, end in zip(self.origins, ends, strict=True)]
        return max(*spans, self.origins[0] - self.lo, 1)

    def _products(self) -> list[int]:
        """Bounds on |accumulator * u| for each Horner step, and on the guarded result last; in codes."""
        reach = self._reach()
        largest = [max(abs(row[power]) for row in self.coefficients) for power in range(self.degree + 1)]
        bounds, accumulator = [], largest[self.degree]
        for power in reversed(range(self.degree)):
            bounds.append(accumulator * reach)
            accumulator = (bounds[-1] >> self.input_frac) + 1 + largest[power]
        return [*bounds, accumulator]

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        if x.frac != self.input_frac:
            raise ProgramError(
                f"spline of {x}",
                expected=f"an input with {self.input_frac} fractional bits",
                remedy="Insert a rescale before the spline at export.",
            )
        scale = 2.0**x.frac
        if x.qtype.lo * scale < self.lo - 1 or x.qtype.hi * scale > self.hi + 1:
            raise RangeError(
                f"spline input in [{x.qtype.lo:g}, {x.qtype.hi:g}]",
                expected=f"[{self.lo / scale:g}, {self.hi / scale:g}], where its error bound holds",
                remedy="Fit the spline on a wider range, or calibrate with more data.",
            )
        return x.shape, self.frac

    def reference(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        origins = torch.tensor(self.origins)
        rows = torch.tensor(self.coefficients)
        segment = torch.bucketize(x.contiguous(), origins[1:], right=True)
        distance = x - origins[segment]
        result = rows[segment, self.degree]
        for power in reversed(range(self.degree)):
            result = round_shift(result * distance, self.input_frac) + rows[segment, power]
        return round_shift(result, self.guard)

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        consumed = []
        if len(self.origins) > 1:
            consumed += less_than_zero_correlations((len(self.origins) - 1, *x.shape), parties)
        for _ in range(self.degree):
            consumed += multiply_correlations(x.shape, x.shape) + truncate_correlations(x.shape, parties)
        return consumed + truncate_correlations(x.shape, parties)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        steps = self._steps(session, x)
        distance = x - _select(x, steps, self.origins)
        columns = list(zip(*self.coefficients, strict=True))
        result = _select(x, steps, columns[self.degree])
        with session.step("polynomial"):
            for power in reversed(range(self.degree)):
                product = truncate(multiply(result, distance), self.input_frac)
                result = product + _select(x, steps, columns[power])
            return truncate(result, self.guard)

    def _steps(self, session: Session, x: ArithmeticSharedTensor) -> list[ArithmeticSharedTensor]:
        """The shared bits [x >= origin] for every origin but the first."""
        if len(self.origins) == 1:
            return []
        with session.step("compare"):
            below = less_than_zero(stack([x - origin for origin in self.origins[1:]]), session.parties)
        return [shared(-share) + 1 for share in below.share.unbind(0)]

    def stock_error(self, inputs: Sequence[TensorType], parties: int) -> int:
        single = truncation_error(parties)
        reach = self._reach() / 2.0**self.input_frac
        error = 0
        for _ in range(self.degree):
            error = math.ceil(error * reach) + single
        return math.ceil(error / 2**self.guard) + single

    def wrap_probability(self, inputs: Sequence[TensorType], parties: int) -> float:
        (x,) = inputs
        return x.size * sum(map(wrap_probability, self._products()))

    def macs(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return self.degree * x.size

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return (len(self.origins) - 1) * x.size


def _select(
    x: ArithmeticSharedTensor, steps: Sequence[ArithmeticSharedTensor], values: Sequence[int]
) -> ArithmeticSharedTensor:
    """Shares of values[s], s the number of set ``steps``: a public linear combination of the shared bits."""
    selected = shared(torch.zeros_like(x.share)) + values[0]
    for step, before, after in zip(steps, values, values[1:], strict=False):
        selected = shared(selected.share + step.share * (after - before))
    return selected
