"""Averages over the neighbourhood of every position of a grid, without a division."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import pad

from mpcvit.errors import ProgramError
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class AveragePool(LinearMap):
    """``multiple`` times the average over a square around each position of a grid [H, W, C]. Local, exact.

    Positions outside the grid do not count: at its border averages are over fewer. As all counts divide ``multiple``,
    the result is a sum of codes times small integers: nothing is rounded, and nothing is opened.

    Attributes:
        side: of the square, odd.
    """

    name: ClassVar[str] = "average_pool"
    side: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        if self.side < 1 or self.side % 2 == 0 or len(x.shape) != 3:
            raise ProgramError(
                f"averages over squares of side {self.side} of {x}",
                expected="an odd side, and a grid [rows, columns, channels]",
                remedy="Correct the side or the shape at export.",
            )
        return x.shape, x.frac

    def multiple(self, height: int, width: int) -> int:
        """Return the least common multiple of how many positions the averages are over.

        36 for 3 x 3 on all but tiny grids.
        """
        rows, columns = self._counts(height), self._counts(width)
        return math.lcm(*(row * column for row in set(rows) for column in set(columns)))

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        height, width = x.shape[1:3]
        reach = self.side // 2
        framed = pad(x, (0, 0, *(reach,) * 4))
        by_row = torch.stack([framed[:, start : start + height] for start in range(self.side)]).sum(0)
        total = torch.stack([by_row[:, :, start : start + width] for start in range(self.side)]).sum(0)
        counts = torch.tensor(self._counts(height))[:, None] * torch.tensor(self._counts(width))
        factors: torch.Tensor = self.multiple(height, width) // counts
        return total * factors[..., None]

    def _counts(self, size: int) -> list[int]:
        """Return per position along an axis, how many positions within reach there are."""
        reach = self.side // 2
        return [min(place + reach, size - 1) - max(place - reach, 0) + 1 for place in range(size)]
