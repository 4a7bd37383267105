"""The sign as a number: 1 where x >= 0, else 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Nonnegative(Op):
    """[x >= 0] as an integer 0 or 1, exact. 8 rounds on stock shares of 2 parties."""

    name: ClassVar[str] = "nonnegative"
    guardable: ClassVar[bool] = True
    public_bounds: ClassVar[bool] = True

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return x.shape, 0

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        return Bounds((x.lo >= 0).double(), (x.hi >= 0).double())

    def window(self, inputs: Sequence[TensorType]) -> tuple[int, int]:
        (x,) = inputs
        return SignWindow.of(x.qtype.code_bound, 0).codes

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        return (x >= 0).to(x.dtype)

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return x.size
