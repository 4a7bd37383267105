"""The sign as a number: 1 where x >= 0, else 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.nonnegative_protocols import NonnegativeByBit, NonnegativeByDcf
from mpcvit.ops.op import Op
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.relu_by_one_hot import ReluByOneHot
from mpcvit.ops.relu_protocols import ReluByBit
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import less_than_zero, less_than_zero_correlations, shared
from mpcvit.session.session import Session

#: Bits per one-hot block: the least material, and fewer rounds.
_BLOCK_WIDTHS = (4, 8)


@dataclass(frozen=True)
class Nonnegative(Op):
    """[x >= 0] as an integer 0 or 1, exact. 8 rounds on stock shares of 2 parties."""

    name: ClassVar[str] = "nonnegative"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return x.shape, 0

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        return (x >= 0).to(x.dtype)

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        return (True,) * count

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        (x,) = inputs
        return sign_protocols(x.shape, x.qtype.code_bound)

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return less_than_zero_correlations(x.shape, parties)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        negative = less_than_zero(x, session.parties)
        return shared((1 if session.index == 0 else 0) - negative.share)

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return x.size


def sign_protocols(shape: Shape, code_bound: int) -> list[Protocol]:
    """The ways to get [x >= 0] as a number, for Masked codes of at most this magnitude."""
    window = SignWindow.of(code_bound, 0)
    ways = [ReluByBit(shape, window), *(ReluByOneHot(shape, window, width) for width in _BLOCK_WIDTHS)]
    return [NonnegativeByDcf(shape, window), *map(NonnegativeByBit, ways)]
