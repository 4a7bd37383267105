"""Products with a weight matrix, which is the same in every inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.bounds import Bounds
from mpcvit.ops.exact_matmul import exact_matmul
from mpcvit.ops.matmul import product_bounds, product_type
from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Linear(Op):
    """x @ weight for x of shape [..., I] and a parameter of shape [..., I, O]; fractional bits add. Exact.

    1 round on stock shares, which open the masked weight anew in every inference.
    """

    name: ClassVar[str] = "linear"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        x, weight = inputs
        return product_type(self.name, x, weight)

    def bounds(self, *inputs: Bounds) -> Bounds:
        return product_bounds(*inputs)

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        x, weight = inputs
        return exact_matmul(x, weight)

    def relaxed(self, *inputs: torch.Tensor) -> torch.Tensor:
        x, weight = inputs
        return x @ weight

    def macs(self, inputs: Sequence[TensorType]) -> int:
        x, weight = inputs
        return math.prod(x.shape) * weight.shape[-1]
