"""max(x, 0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.op import Op
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.relu_by_one_hot import ReluByOneHot
from mpcvit.ops.relu_protocols import ReluByBit, ReluByDcf
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import (
    less_than_zero,
    less_than_zero_correlations,
    multiply,
    multiply_correlations,
)
from mpcvit.session.session import Session

#: Bits per one-hot block: the least material, and fewer rounds.
_BLOCK_WIDTHS = (4, 8)


@dataclass(frozen=True)
class Relu(Op):
    """x where x >= 0, else 0. On stock shares a sign bit (8 rounds for 2 parties) and one product.

    Attributes:
        drop: bits of x that the comparison ignores: for |x| < 2**drop the result may be either x or 0. Exact if 0;
            shorter keys if more, where that much does not matter (row maxima that only shift a softmax).
    """

    name: ClassVar[str] = "relu"
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

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        return torch.where(x + (self._half if rounding is None else rounding) >= 0, x, 0)

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        return (True,) * count

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        (x,) = inputs
        window = SignWindow.of(x.qtype.code_bound, self.drop)
        one_hot = (ReluByOneHot(x.shape, window, width) for width in _BLOCK_WIDTHS)
        return [ReluByBit(x.shape, window), ReluByDcf(x.shape, window), *one_hot]

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return less_than_zero_correlations(x.shape, parties) + multiply_correlations(x.shape, x.shape)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        with session.step("compare"):
            negative = less_than_zero(x + self._half, session.parties)
        with session.step("select"):
            return x - multiply(x, negative)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return x.size

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return x.size

    @property
    def _half(self) -> int:
        return (1 << self.drop) >> 1
