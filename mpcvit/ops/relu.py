"""max(x, 0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import (
    less_than_zero,
    less_than_zero_correlations,
    multiply,
    multiply_correlations,
)
from mpcvit.session.session import Session


@dataclass(frozen=True)
class Relu(Op):
    """x where x >= 0, else 0. Exact; on stock shares a sign bit (8 rounds for 2 parties) and one product."""

    name: ClassVar[str] = "relu"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return x.shape, x.frac

    def reference(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x.clamp(min=0)

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return less_than_zero_correlations(x.shape, parties) + multiply_correlations(x.shape, x.shape)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        with session.step("compare"):
            negative = less_than_zero(x, session.parties)
        with session.step("select"):
            return x - multiply(x, negative)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return x.size

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return x.size
