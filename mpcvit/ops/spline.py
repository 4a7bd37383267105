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
    """A polynomial of one degree per segment, in a local coordinate u of the segment.

    Segment s covers codes from ``origins[s]`` to ``origins[s + 1]``; the first also what lies left of it, the last
    what lies right. u is the distance from the segment's left end divided by 2**exponents[s]. By Horner, y = (..(c_d u
    + c_{d-1}) u + ..) + c_0, each step rescaled by u's fractional bits; at the end the guard bits are dropped.
    Segments of very different lengths (reciprocals over many octaves) need the exponents, or their coefficients would
    span more bits than the ring has.

    On stock shares: all comparisons in one batch (8 rounds for 2 parties), coefficients and scale selected locally,
    one product per degree, and one for u if the exponents differ. Segments cost bytes but no rounds.

    Attributes:
        origins: left ends of the segments, codes of the input, strictly ascending; one per segment.
        exponents: per segment, of either sign; all 0 if u is just the distance.
        coefficients: per segment c_0 .. c_degree, codes with ``frac + guard`` fractional bits.
        input_frac: fractional bits of the input.
        local_frac: fractional bits of u; ``input_frac`` if all exponents are 0.
        frac: fractional bits of the result.
        guard: extra fractional bits of the evaluation, at least 1.
        lo, hi: the codes for which the error bound was proven at export; lo <= origins[-1] <= hi.
    """

    name: ClassVar[str] = "spline"
    origins: tuple[int, ...]
    exponents: tuple[int, ...]
    coefficients: tuple[tuple[int, ...], ...]
    input_frac: int
    local_frac: int
    frac: int
    guard: int
    lo: int
    hi: int

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.origins, self.origins[1:], strict=False))
        rows_fit = len(self.origins) == len(self.coefficients) == len(self.exponents)
        one_degree = len({len(row) for row in self.coefficients}) == 1
        scaled = self._scaled or self.local_frac == self.input_frac
        inside = bool(self.origins) and self.lo <= self.origins[-1] <= self.hi
        if not (ascending and rows_fit and one_degree and scaled and inside and self.guard >= 1):
            raise ProgramError(
                f"a spline of {len(self.origins)} origins and {len(self.coefficients)} coefficient rows",
                expected="ascending origins inside the domain, an exponent and an equally long row each, guard >= 1",
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

    @property
    def _scaled(self) -> bool:
        return any(self.exponents)

    @property
    def _factors(self) -> tuple[int, ...]:
        """Per segment, what the distance is multiplied with before the common division by 2**max(exponents)."""
        largest = max(self.exponents)
        return tuple(1 << (largest - exponent) for exponent in self.exponents)

    @property
    def _drop(self) -> int:
        """Bits that the scaled distance loses on the way to ``local_frac``; 0 or less if it has no more than that."""
        return self.input_frac + max(self.exponents) - self.local_frac

    def _reaches(self) -> list[int]:
        """Largest distance in each segment, in codes of the input."""
        ends = (*self.origins[1:], self.hi)
        reaches = [max(end - start, 1) for start, end in zip(self.origins, ends, strict=True)]
        reaches[0] = max(reaches[0], self.origins[0] - self.lo)
        return reaches

    def _local_reaches(self) -> list[int]:
        """Largest |u| in each segment, in codes of u."""
        if not self._scaled:
            return self._reaches()
        scaled = [reach * factor for reach, factor in zip(self._reaches(), self._factors, strict=True)]
        return [(reach >> self._drop if self._drop > 0 else reach << -self._drop) + 1 for reach in scaled]

    def _accumulators(self, segment: int) -> list[int]:
        """Bounds on a segment's accumulator before each Horner step, and on its guarded result last; in codes."""
        row, reach = self.coefficients[segment], self._local_reaches()[segment]
        bounds = [abs(row[self.degree])]
        for power in reversed(range(self.degree)):
            bounds.append((bounds[-1] * reach >> self.local_frac) + 1 + abs(row[power]))
        return bounds

    def _products(self) -> list[int]:
        """Bounds on everything that is truncated, in codes."""
        reaches, local = self._reaches(), self._local_reaches()
        bounds = [0] * (self.degree + 2)
        for segment, factor in enumerate(self._factors):
            *steps, result = self._accumulators(segment)
            distance = reaches[segment] * factor if self._scaled else 0
            here = [distance, *(accumulator * local[segment] for accumulator in steps), result]
            bounds = [max(pair) for pair in zip(bounds, here, strict=True)]
        return bounds

    def segment_errors(self, parties: int) -> list[int]:
        """Per segment, the largest difference between shares and reference, in LSB of the result."""
        single = truncation_error(parties)
        unit: int = 1 << self.local_frac
        shift = single / unit if self._scaled and self._drop > 0 else 0.0
        errors = []
        for segment, reach in enumerate(self._local_reaches()):
            error = 0
            for accumulator in self._accumulators(segment)[:-1]:
                error = math.ceil(error * (reach / unit + shift) + accumulator * shift) + single
            errors.append(math.ceil(error / (1 << self.guard)) + single)
        return errors

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
        local = x - origins[segment]
        if self._scaled:
            local = local * torch.tensor(self._factors)[segment]
            local = round_shift(local, self._drop) if self._drop > 0 else local << -self._drop
        result = rows[segment, self.degree]
        for power in reversed(range(self.degree)):
            result = round_shift(result * local, self.local_frac) + rows[segment, power]
        return round_shift(result, self.guard)

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        consumed: list[Correlation] = []
        product = multiply_correlations(x.shape, x.shape)
        rounding = truncate_correlations(x.shape, parties)
        if len(self.origins) > 1:
            consumed += less_than_zero_correlations((len(self.origins) - 1, *x.shape), parties)
        if self._scaled:
            consumed += product + (rounding if self._drop > 0 else [])
        return [*consumed, *(product + rounding) * self.degree, *rounding]

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        steps = self._steps(session, x)
        local = x - _select(x, steps, self.origins)
        columns = list(zip(*self.coefficients, strict=True))
        with session.step("polynomial"):
            if self._scaled:
                local = multiply(local, _select(x, steps, self._factors))
                local = truncate(local, self._drop) if self._drop > 0 else shared(local.share << -self._drop)
            result = _select(x, steps, columns[self.degree])
            for power in reversed(range(self.degree)):
                product = truncate(multiply(result, local), self.local_frac)
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
        return max(self.segment_errors(parties))

    def wrap_probability(self, inputs: Sequence[TensorType], parties: int) -> float:
        (x,) = inputs
        return x.size * sum(map(wrap_probability, self._products()))

    def macs(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return (self.degree + self._scaled) * x.size

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
