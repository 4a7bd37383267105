"""The windows of a grid as rows: convolutions become products with a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import pad

from mpcvit.errors import ProgramError
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Unfold(LinearMap):
    """Square windows of a grid [H, W, C] with zeros around it: [H', W', side * side * C]. Local, exact.

    Within a window the order is row, column, channel. H' is (H + 2 * border - side) // stride + 1, W' likewise.

    Attributes:
        side: of a window.
        stride: distance of neighbouring windows.
        border: rows and columns of zeros on each side of the grid; fewer than ``side``.
    """

    name: ClassVar[str] = "unfold"
    side: int
    stride: int
    border: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        ordinary = self.side >= 1 and self.stride >= 1 and 0 <= self.border < self.side
        if not ordinary or len(x.shape) != 3 or min(x.shape[:2]) + 2 * self.border < self.side:
            raise ProgramError(
                f"windows of side {self.side}, stride {self.stride} and border {self.border} of {x}",
                expected="a grid [rows, columns, channels] into which a window fits, and a border narrower than it",
                remedy="Correct the window or the shape at export.",
            )
        height, width, channels = x.shape
        rows, columns = ((size + 2 * self.border - self.side) // self.stride + 1 for size in (height, width))
        return (rows, columns, self.side**2 * channels), x.frac

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        framed = pad(x, (0, 0, *(self.border,) * 4))
        windows = framed.unfold(1, self.side, self.stride).unfold(2, self.side, self.stride)
        return windows.permute(0, 1, 2, 4, 5, 3).flatten(3)
