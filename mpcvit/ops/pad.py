"""Zeros before the elements of one axis: room for a class token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.sum import check_axis
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Pad(LinearMap):
    """``count`` zeros before the elements of ``axis`` (negative). Local, exact."""

    name: ClassVar[str] = "pad"
    axis: int
    count: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        check_axis(self.name, self.axis, x)
        if self.count < 1:
            raise ProgramError(
                f"pad of {x} by {self.count}",
                expected="at least 1",
                remedy="Drop the op instead of padding by nothing.",
            )
        shape = list(x.shape)
        shape[self.axis] += self.count
        return tuple(shape), x.frac

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        zeros = list(x.shape)
        zeros[self.axis] = self.count
        return torch.cat([x.new_zeros(zeros), x], dim=self.axis)
