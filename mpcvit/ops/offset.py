"""x + c for a public constant c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Offset(LinearMap):
    """Adds the public ``code``, which has the input's fractional bits. Local, exact."""

    name: ClassVar[str] = "offset"
    code: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return x.shape, x.frac

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        return x + self.code

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x
