"""Products of two matrices that both depend on the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.exact_matmul import exact_matmul
from mpcvit.ops.masked_product import Bilinear, MaskedProduct
from mpcvit.ops.op import Op
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation, Product
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import matmul, matmul_correlations
from mpcvit.session.session import Session


def product_type(op: str, left: TensorType, right: TensorType) -> tuple[Shape, int]:
    """Shape and fractional bits of left @ right.

    Raises:
        ProgramError: the inner dimensions differ or an operand is not a matrix.
    """
    if len(left.shape) < 2 or len(right.shape) < 2 or left.shape[-1] != right.shape[-2]:
        raise ProgramError(
            f"{op} of {left} and {right}",
            expected="two matrices with equal inner dimension",
            remedy="Permute or reshape an operand at export.",
        )
    return Product.MATMUL.shape(left.shape, right.shape), left.frac + right.frac


@dataclass(frozen=True)
class Matmul(Op):
    """left @ right over the last two axes; fractional bits add. Exact; 1 round on stock shares."""

    name: ClassVar[str] = "matmul"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        left, right = inputs
        return product_type(self.name, left, right)

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        left, right = inputs
        return exact_matmul(left, right)

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        left, right = inputs
        return matmul_correlations(left.shape, right.shape)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        left, right = inputs
        return matmul(left, right)

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        return (True,) * count

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        return [MaskedProduct(Bilinear.MATRIX, self.macs(inputs))]

    def macs(self, inputs: Sequence[TensorType]) -> int:
        left, right = inputs
        return math.prod(Product.MATMUL.shape(left.shape, right.shape)) * left.shape[-1]
