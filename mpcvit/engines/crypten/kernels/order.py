"""The order of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import less_than_zero, less_than_zero_correlations
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared, shared
from mpcvit.ops import Op, Order, PairDifferences, Ranks, TensorType
from mpcvit.ops.order import pair_count


class OrderKernel(CryptenKernel[Order]):
    """For any number of parties, and nothing is opened: 16 rounds for 2 parties.

    Comparisons of all pairs give ranks, comparisons of every rank with every place the matrix.
    """

    runs: ClassVar[type[Op]] = Order

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        count = inputs[0].size
        compared, placed = (pair_count(count),), (count - 1, count)
        return [*less_than_zero_correlations(compared, parties), *less_than_zero_correlations(placed, parties)]

    def run(self, session: Session, *inputs: Shared) -> Shared:
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
