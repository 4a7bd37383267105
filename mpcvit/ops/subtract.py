"""x - y."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.bounds import Bounds
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.op import broadcast, same_frac
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Subtract(LinearMap):
    """Elementwise difference with broadcasting. Local, exact."""

    name: ClassVar[str] = "subtract"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        left, right = inputs
        return broadcast(self.name, left, right), same_frac(self.name, left, right)

    def bounds(self, *inputs: Bounds) -> Bounds:
        left, right = inputs
        return Bounds(left.lo - right.hi, left.hi - right.lo)

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        left, right = inputs
        return left - right
