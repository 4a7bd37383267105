"""Several tensors after one another along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.op import same_frac
from mpcvit.ops.sum import check_axis
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Concat(LinearMap):
    """Inputs joined along ``axis`` (negative); all other axes agree. Local, exact."""

    name: ClassVar[str] = "concat"
    axis: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        first = inputs[0]
        check_axis(self.name, self.axis, first)
        shape = list(first.shape)
        for x in inputs[1:]:
            same_frac(self.name, first, x)
            rest = list(x.shape)
            if len(rest) == len(shape):
                rest[self.axis] = shape[self.axis]
            if rest != shape:
                raise ProgramError(
                    f"concat of {first} and {x} along axis {self.axis}",
                    expected="equal shapes but for that axis",
                    remedy="Correct the shapes at export.",
                )
        shape[self.axis] = sum(x.shape[self.axis] for x in inputs)
        return tuple(shape), first.frac

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat(inputs, dim=self.axis)
