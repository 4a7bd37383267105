"""Rows in the order of their scores, and nobody learns what that order is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.ops.nonnegative import sign_protocols
from mpcvit.ops.op import Op
from mpcvit.ops.pair_differences import PairDifferences
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.ranks import Ranks
from mpcvit.ops.sort_by_shuffle import SortByShuffle, distinct_bound
from mpcvit.ops.types import Shape, TensorType
from mpcvit.ring.qtype import MAX_CODE_BITS
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import (
    less_than_zero,
    less_than_zero_correlations,
    matmul,
    matmul_correlations,
    shared,
)
from mpcvit.session.session import Session


@dataclass(frozen=True)
class Sort(Op):
    """Rows [N, D] in the order of their scores [N], the largest first, equal ones as they came. Exact.

    Inputs: rows, and scores with fractional bits of their own. One op and not several, so that no Program can open the
    order of anything but shuffled rows: ranks are no value of a Program here.

    On stock shares, for any number of parties, nothing is opened: comparisons of all pairs give ranks, comparisons of
    every rank with every place a permutation matrix, which multiplies the rows (8 + 8 + 1 rounds for 2 parties).
    """

    name: ClassVar[str] = "sort"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        rows, scores = inputs
        if len(rows.shape) != 2 or scores.shape != rows.shape[:1] or rows.shape[0] < 2:
            raise ProgramError(
                f"sort of {rows} by {scores}",
                expected="rows [N, D] and scores [N], N at least 2",
                remedy="Reshape the inputs at export.",
            )
        if distinct_bound(scores).bit_length() > MAX_CODE_BITS:
            raise RangeError(
                f"sort by {scores}",
                expected=f"differences, with {rows.shape[0]} positions below them, of at most {MAX_CODE_BITS} bits",
                remedy="Rescale the scores to fewer fractional bits at export.",
            )
        return rows.shape, rows.frac

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        rows, scores = inputs
        order = scores.argsort(dim=-1, descending=True, stable=True)
        return rows.take_along_dim(order[..., None], dim=-2)

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        return (True,) * count

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        rows, scores = inputs
        count, width = rows.shape
        ways = sign_protocols((_pairs(count),), distinct_bound(scores))
        return [SortByShuffle(count, width, comparison) for comparison in ways]

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        count, width = inputs[0].shape
        return [
            *less_than_zero_correlations((_pairs(count),), parties),
            *less_than_zero_correlations((count - 1, count), parties),
            *matmul_correlations((count, count), (count, width)),
        ]

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        rows, scores = inputs
        count, one = scores.share.shape[-1], 1 if session.index == 0 else 0
        with session.step("compare"):
            behind = less_than_zero(shared(PairDifferences(1).linear(scores.share)), session.parties)
        counted = Ranks(count, 1)
        ranks = (counted.reference if one else counted.linear)(one - behind.share)
        with session.step("place"):
            distance = ranks - one * torch.arange(1, count)[:, None]
            below = less_than_zero(shared(distance), session.parties).share  # [rank < 1], .., [rank < N - 1]
        first, last = torch.zeros((1, count), dtype=torch.int64), torch.full((1, count), one)
        with session.step("permute"):
            return matmul(shared(torch.diff(below, dim=0, prepend=first, append=last)), rows)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        count, width = inputs[0].shape
        return count * count * width

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        return _pairs(inputs[0].shape[0])


def _pairs(count: int) -> int:
    return count * (count - 1) // 2
