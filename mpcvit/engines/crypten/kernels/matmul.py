"""Products of two matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import matmul, matmul_correlations
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared
from mpcvit.ops import Matmul, Op, TensorType


class MatmulKernel(CryptenKernel[Matmul]):
    """Beaver's product: 1 round, exact."""

    runs: ClassVar[type[Op]] = Matmul

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        left, right = inputs
        return matmul_correlations(left.shape, right.shape)

    def run(self, session: Session, *inputs: Shared) -> Shared:
        left, right = inputs
        return matmul(left, right)
