"""Elementwise products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import multiply, multiply_correlations
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared
from mpcvit.ops import Multiply, Op, TensorType


class MultiplyKernel(CryptenKernel[Multiply]):
    """Beaver's product: 1 round, exact."""

    runs: ClassVar[type[Op]] = Multiply

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        left, right = inputs
        return multiply_correlations(left.shape, right.shape)

    def run(self, session: Session, *inputs: Shared) -> Shared:
        left, right = inputs
        return multiply(left, right)
