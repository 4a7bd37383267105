"""The same elements in another shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Reshape(LinearMap):
    """Row-major reshape to ``shape``. Local, exact."""

    name: ClassVar[str] = "reshape"
    shape: Shape

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        if math.prod(self.shape) != x.size:
            raise ProgramError(
                f"reshape of {x} to {list(self.shape)}",
                expected=f"a shape of {x.size} elements",
                remedy="Correct the shape at export.",
            )
        return self.shape, x.frac

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x.reshape(x.shape[0], *self.shape)
