"""max(x, 0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Relu(Op):
    """x where x >= 0, else 0. On stock shares a sign bit (8 rounds for 2 parties) and one product.

    Attributes:
        drop: bits of x that the comparison ignores: for |x| < 2**drop the result may be either x or 0. Exact if 0;
            shorter keys if more, where that much does not matter (row maxima that only shift a softmax).
    """

    name: ClassVar[str] = "relu"
    guardable: ClassVar[bool] = True
    drop: int = 0

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        if not 0 <= self.drop < max(x.qtype.code_bound.bit_length(), 1):
            raise ProgramError(
                f"relu of {x} that ignores {self.drop} bits",
                expected=f"less than the {x.qtype.code_bound.bit_length()} bits of its codes",
                remedy="Drop fewer bits at export.",
            )
        return x.shape, x.frac

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        kept = 1.0 - 2.0**self.drop  # the least code that may be taken for one that is not negative
        return Bounds(x.lo.clamp(kept, 0).where(x.lo < 0, x.lo), x.hi.clamp(min=0))

    def window(self, inputs: Sequence[TensorType]) -> tuple[int, int]:
        (x,) = inputs
        return SignWindow.of(x.qtype.code_bound, self.drop).codes

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        return torch.where(x + (self.half if rounding is None else rounding) >= 0, x, 0)

    def relaxed(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x.relu()

    def macs(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return x.size

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return x.size

    @property
    def half(self) -> int:
        """What a code is rounded up by before its sign is taken."""
        return (1 << self.drop) >> 1
