"""Elements at public positions along one axis, in any order, any number of times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.sum import check_axis
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Gather(LinearMap):
    """Element i along ``axis`` of the result is element ``indices[i]`` of x. Local, exact.

    Nearest upsampling, chosen points, shifts and pixel shuffle are such maps.

    Attributes:
        axis: negative.
        indices: at least one.
    """

    name: ClassVar[str] = "gather"
    axis: int
    indices: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        check_axis(self.name, self.axis, x)
        count = x.shape[self.axis]
        if not self.indices or min(self.indices) < 0 or max(self.indices) >= count:
            raise ProgramError(
                f"gather of {len(self.indices)} positions up to {max(self.indices, default=0)} along axis {self.axis} "
                f"of {x}",
                expected=f"at least one, from 0 to {count - 1}",
                remedy="Correct the positions at export.",
            )
        shape = list(x.shape)
        shape[self.axis] = len(self.indices)
        return tuple(shape), x.frac

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x.index_select(self.axis, torch.tensor(self.indices))
