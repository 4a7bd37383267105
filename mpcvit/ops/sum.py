"""Sums over one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


def check_axis(op: str, axis: int, x: TensorType) -> None:
    """Raise ProgramError unless ``axis`` counts from the end and exists in ``x``."""
    if not -len(x.shape) <= axis < 0:
        raise ProgramError(
            f"{op} over axis {axis} of {x}",
            expected=f"an axis from {-len(x.shape)} to -1",
            remedy="Count axes from the end.",
        )


@dataclass(frozen=True)
class Sum(LinearMap):
    """Sum over ``axis`` (negative), which stays with length 1. Local, exact."""

    name: ClassVar[str] = "sum"
    axis: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        check_axis(self.name, self.axis, x)
        shape = list(x.shape)
        shape[self.axis] = 1
        return tuple(shape), x.frac

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x.sum(self.axis, keepdim=True)
