"""Axes in another order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Permute(LinearMap):
    """Axis i of the result is axis ``order[i]`` of the input, counted from the front. Local, exact."""

    name: ClassVar[str] = "permute"
    order: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        if sorted(self.order) != list(range(len(x.shape))):
            raise ProgramError(
                f"permute of {x} by {list(self.order)}",
                expected=f"a permutation of 0..{len(x.shape) - 1}",
                remedy="Correct the order at export.",
            )
        return tuple(x.shape[axis] for axis in self.order), x.frac

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x.permute(0, *(axis + 1 for axis in self.order))
