"""The order of scores as a permutation matrix; nobody learns what it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape, TensorType
from mpcvit.ring.qtype import MAX_CODE_BITS


@dataclass(frozen=True)
class Order(Op):
    """The matrix E [N, N] of integers 0 and 1 whose product with rows [N, D] puts them in the order of N scores.

    Row p of E is 1 at the score with rank p: the largest first, equal ones as they came. Exact. One op, and not ranks
    that further ops read, so that no Program can open the ranks of anything but shuffled scores: ranks are no value of
    a Program here.

    On stock shares, for any number of parties, nothing is opened: comparisons of all pairs give ranks, comparisons of
    every rank with every place the matrix (16 rounds for 2 parties).
    """

    name: ClassVar[str] = "order"
    guardable: ClassVar[bool] = True
    public_bounds: ClassVar[bool] = True

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (scores,) = inputs
        if len(scores.shape) != 1 or scores.size < 2:
            raise ProgramError(
                f"order of {scores}", expected="at least two scores [N]", remedy="Reshape the input at export."
            )
        if distinct_bound(scores).bit_length() > MAX_CODE_BITS:
            raise RangeError(
                f"order of {scores}",
                expected=f"differences, with {scores.size} positions below them, of at most {MAX_CODE_BITS} bits",
                remedy="Rescale the scores to fewer fractional bits at export.",
            )
        return (scores.size, scores.size), 0

    def bounds(self, *inputs: Bounds) -> Bounds:
        (scores,) = inputs
        return Bounds.within(0, 1, (scores.lo.numel(),) * 2)

    def window(self, inputs: Sequence[TensorType]) -> tuple[int, int]:
        """Return the window of the distance between the largest and the least score."""
        (scores,) = inputs
        count = scores.size
        largest = SignWindow.of(distinct_bound(scores), 0).codes[1] - (count - 1)
        return 0, largest >> position_bits(count)

    def gated(self, *inputs: torch.Tensor) -> torch.Tensor:
        (scores,) = inputs
        return scores.amax(-1, keepdim=True) - scores.amin(-1, keepdim=True)

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (scores,) = inputs
        order = scores.argsort(dim=-1, descending=True, stable=True)
        return torch.nn.functional.one_hot(order, scores.shape[-1])

    def relaxed(self, *inputs: torch.Tensor) -> torch.Tensor:
        (scores,) = inputs
        return self.reference(scores).to(scores.dtype)

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        return pair_count(inputs[0].size)


def pair_count(count: int) -> int:
    """Return the pairs of ``count`` scores."""
    return count * (count - 1) // 2


def distinct_bound(scores: TensorType) -> int:
    """Return the largest magnitude of a difference of two scores with their positions below them, as codes."""
    scale = 2.0**scores.frac
    span = math.ceil(scores.qtype.hi * scale) - math.floor(scores.qtype.lo * scale)
    return (span << position_bits(scores.size)) + scores.size - 1


def position_bits(count: int) -> int:
    """Return the bits that tell ``count`` positions apart."""
    return (count - 1).bit_length()
