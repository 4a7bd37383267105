"""x * y, elementwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op, broadcast
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Multiply(Op):
    """Elementwise product with broadcasting; fractional bits add. Exact; 1 round on stock shares."""

    name: ClassVar[str] = "multiply"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        left, right = inputs
        return broadcast(self.name, left, right), left.frac + right.frac

    def bounds(self, *inputs: Bounds) -> Bounds:
        left, right = inputs
        corners = torch.stack(
            torch.broadcast_tensors(left.lo * right.lo, left.lo * right.hi, left.hi * right.lo, left.hi * right.hi)
        )
        return Bounds(corners.amin(0), corners.amax(0))

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        left, right = inputs
        return left * right

    def macs(self, inputs: Sequence[TensorType]) -> int:
        left, right = inputs
        return math.prod(broadcast(self.name, left, right))
