"""Elementwise squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import square, square_correlations
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared
from mpcvit.ops import Op, Square, TensorType


class SquareKernel(CryptenKernel[Square]):
    """Beaver's square: 1 round, half the bytes of a product, exact."""

    runs: ClassVar[type[Op]] = Square

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return square_correlations(x.shape)

    def run(self, session: Session, *inputs: Shared) -> Shared:
        (x,) = inputs
        return square(x)
