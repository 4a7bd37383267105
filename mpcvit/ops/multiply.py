"""x * y, elementwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.masked_product import Bilinear, MaskedProduct
from mpcvit.ops.op import Op, broadcast
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import multiply, multiply_correlations
from mpcvit.session.session import Session


@dataclass(frozen=True)
class Multiply(Op):
    """Elementwise product with broadcasting; fractional bits add. Exact; 1 round on stock shares."""

    name: ClassVar[str] = "multiply"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        left, right = inputs
        return broadcast(self.name, left, right), left.frac + right.frac

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        left, right = inputs
        return left * right

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        left, right = inputs
        return multiply_correlations(left.shape, right.shape)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        left, right = inputs
        return multiply(left, right)

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        return (True,) * count

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        return [MaskedProduct(Bilinear.ELEMENTWISE, self.macs(inputs))]

    def macs(self, inputs: Sequence[TensorType]) -> int:
        left, right = inputs
        return math.prod(broadcast(self.name, left, right))
