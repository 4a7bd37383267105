"""The order of scores as a permutation matrix; nobody learns what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.ops.nonnegative import sign_protocols
from mpcvit.ops.op import Op
from mpcvit.ops.order_by_shuffle import OrderByShuffle, distinct_bound
from mpcvit.ops.pair_differences import PairDifferences
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.ranks import Ranks
from mpcvit.ops.types import Shape, TensorType
from mpcvit.ring.qtype import MAX_CODE_BITS
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import less_than_zero, less_than_zero_correlations, shared
from mpcvit.session.session import Session


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

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (scores,) = inputs
        order = scores.argsort(dim=-1, descending=True, stable=True)
        return torch.nn.functional.one_hot(order, scores.shape[-1])

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        return (True,) * count

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        (scores,) = inputs
        ways = sign_protocols((_pairs(scores.size),), distinct_bound(scores))
        return [OrderByShuffle(scores.size, comparison) for comparison in ways]

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        count = inputs[0].size
        compared, placed = (_pairs(count),), (count - 1, count)
        return [*less_than_zero_correlations(compared, parties), *less_than_zero_correlations(placed, parties)]

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (scores,) = inputs
        count, one = scores.share.shape[-1], 1 if session.index == 0 else 0
        with session.step("compare"):
            behind = less_than_zero(shared(PairDifferences(1).linear(scores.share)), session.parties)
        counted = Ranks(count, 1)
        ranks = (counted.reference if one else counted.linear)(one - behind.share)
        with session.step("place"):
            distance = ranks - one * torch.arange(1, count)[:, None]
            below = less_than_zero(shared(distance), session.parties).share  # [rank < 1], .., [rank < N - 1]
        first, last = torch.zeros((1, count), dtype=torch.int64), torch.full((1, count), one)
        return shared(torch.diff(below, dim=0, prepend=first, append=last))

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        return _pairs(inputs[0].size)


def _pairs(count: int) -> int:
    return count * (count - 1) // 2
