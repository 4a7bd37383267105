"""Products with a weight matrix, which is the same in every inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.exact_matmul import exact_matmul
from mpcvit.ops.masked_product import Bilinear, MaskedProduct
from mpcvit.ops.matmul import product_type
from mpcvit.ops.op import Op
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import matmul, matmul_correlations
from mpcvit.session.session import Session


@dataclass(frozen=True)
class Linear(Op):
    """x @ weight for x of shape [..., I] and a parameter of shape [..., I, O]; fractional bits add. Exact.

    1 round on stock shares, which open the masked weight anew in every inference.
    """

    name: ClassVar[str] = "linear"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        x, weight = inputs
        return product_type(self.name, x, weight)

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        x, weight = inputs
        return exact_matmul(x, weight)

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        x, weight = inputs
        return matmul_correlations(x.shape, weight.shape)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        x, weight = inputs
        return matmul(x, weight)

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        return (True,) * count

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        return [MaskedProduct(Bilinear.MATRIX, self.macs(inputs))]

    def macs(self, inputs: Sequence[TensorType]) -> int:
        x, weight = inputs
        return math.prod(x.shape) * weight.shape[-1]
