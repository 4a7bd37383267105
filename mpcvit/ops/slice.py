"""A contiguous part along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.sum import check_axis
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Slice(LinearMap):
    """Elements ``start`` to ``stop`` (exclusive) along ``axis`` (negative). Local, exact."""

    name: ClassVar[str] = "slice"
    axis: int
    start: int
    stop: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        check_axis(self.name, self.axis, x)
        if not 0 <= self.start < self.stop <= x.shape[self.axis]:
            raise ProgramError(
                f"slice {self.start}:{self.stop} along axis {self.axis} of {x}",
                expected=f"0 <= start < stop <= {x.shape[self.axis]}",
                remedy="Correct the bounds at export.",
            )
        shape = list(x.shape)
        shape[self.axis] = self.stop - self.start
        return tuple(shape), x.frac

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x.narrow(self.axis, self.start, self.stop - self.start)
