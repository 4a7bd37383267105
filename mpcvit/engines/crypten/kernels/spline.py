"""Piecewise polynomials with arbitrary knots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import (
    less_than_zero,
    less_than_zero_correlations,
    multiply,
    multiply_correlations,
    stack,
)
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared, shared
from mpcvit.ops import Op, Spline, TensorType


class SplineKernel(CryptenKernel[Spline]):
    """All comparisons in one batch (8 rounds for 2 parties), then one product per degree."""

    runs: ClassVar[type[Op]] = Spline

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        consumed: list[Correlation] = []
        if len(self.op.origins) > 1:
            consumed += less_than_zero_correlations((len(self.op.origins) - 1, *x.shape), parties)
        return [*consumed, *multiply_correlations(x.shape, x.shape) * self.op.degree]

    def run(self, session: Session, *inputs: Shared) -> Shared:
        (x,) = inputs
        steps = self._steps(session, x)
        local = x - _select(x, steps, self.op.origins)
        columns = list(zip(*self.op.coefficients, strict=True))
        with session.step("polynomial"):
            result = _select(x, steps, columns[self.op.degree])
            for power in reversed(range(self.op.degree)):
                result = multiply(result, local) + _select(x, steps, columns[power])
        return result

    def _steps(self, session: Session, x: Shared) -> list[Shared]:
        """Return the shared bits [x >= origin] for every origin but the first."""
        if len(self.op.origins) == 1:
            return []
        with session.step("compare"):
            below = less_than_zero(stack([x - origin for origin in self.op.origins[1:]]), session.parties)
        return [shared(-share) + 1 for share in below.share.unbind(0)]


def _select(x: Shared, steps: Sequence[Shared], values: Sequence[int]) -> Shared:
    """Return shares of values[s], s the number of set ``steps``: a public linear combination of the shared bits."""
    selected = shared(torch.zeros_like(x.share)) + values[0]
    for step, before, after in zip(steps, values, values[1:], strict=False):
        selected = shared(selected.share + step.share * (after - before))
    return selected
