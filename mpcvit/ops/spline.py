"""Piecewise polynomials with arbitrary knots: reciprocals and reciprocal roots of a few elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.ops.op import Op
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.spline_by_dcf import SplineByDcf
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
)
from mpcvit.session.session import Session


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
    """sum_m rows[m] * local**m mod 2**64."""
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

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        origins = torch.tensor(self.origins)
        segment = torch.bucketize(x.contiguous(), origins[1:], right=True)
        rows = torch.tensor(self.coefficients)[segment]
        return horner(rows.unbind(-1), x - origins[segment])

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        return (True,) * count

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        (x,) = inputs
        return [SplineByDcf(x.shape, self.origins, self.coefficients, self.lo, self.hi)]

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        consumed: list[Correlation] = []
        if len(self.origins) > 1:
            consumed += less_than_zero_correlations((len(self.origins) - 1, *x.shape), parties)
        return [*consumed, *multiply_correlations(x.shape, x.shape) * self.degree]

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        steps = self._steps(session, x)
        local = x - _select(x, steps, self.origins)
        columns = list(zip(*self.coefficients, strict=True))
        with session.step("polynomial"):
            result = _select(x, steps, columns[self.degree])
            for power in reversed(range(self.degree)):
                result = multiply(result, local) + _select(x, steps, columns[power])
        return result

    def _steps(self, session: Session, x: ArithmeticSharedTensor) -> list[ArithmeticSharedTensor]:
        """The shared bits [x >= origin] for every origin but the first."""
        if len(self.origins) == 1:
            return []
        with session.step("compare"):
            below = less_than_zero(stack([x - origin for origin in self.origins[1:]]), session.parties)
        return [shared(-share) + 1 for share in below.share.unbind(0)]

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
