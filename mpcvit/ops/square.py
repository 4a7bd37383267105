"""x * x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Square(Op):
    """Elementwise square; fractional bits double. Exact; 1 round on stock shares, half the bytes of a product."""

    name: ClassVar[str] = "square"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return x.shape, 2 * x.frac

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        least = torch.where((x.lo <= 0) & (x.hi >= 0), 0.0, torch.minimum(x.lo.abs(), x.hi.abs()))
        return Bounds(least.square(), x.magnitude.square())

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        return x * x

    def macs(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return x.size
