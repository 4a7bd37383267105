"""max(x, 0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import (
    less_than_zero,
    less_than_zero_correlations,
    multiply,
    multiply_correlations,
)
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared
from mpcvit.ops import Op, Relu, TensorType


class ReluKernel(CryptenKernel[Relu]):
    """A sign bit (8 rounds for 2 parties) and one product."""

    runs: ClassVar[type[Op]] = Relu

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return less_than_zero_correlations(x.shape, parties) + multiply_correlations(x.shape, x.shape)

    def run(self, session: Session, *inputs: Shared) -> Shared:
        (x,) = inputs
        with session.step("compare"):
            negative = less_than_zero(x + self.op.half, session.parties)
        with session.step("select"):
            return x - multiply(x, negative)
