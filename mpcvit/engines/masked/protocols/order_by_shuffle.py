"""The order of scores in the fast engine: they are shuffled in secret, then the ranks of the shuffled order are opened.

The dealer draws a uniform permutation and shares its matrix P and P mu, mu being the mask of the scores s. P s = P s^ -
P mu is local. All pairs of shuffled scores are compared, ranks are sums of the outcomes, and opening the ranks shows a
uniform permutation, whatever the scores are: the secret order behind the dealer's permutation, which no party knows. At
the opened places the rows of P become the matrix of the order. (Secret permutation before a comparison sort: Hamada,
Kikuchi, Ikarashi, Chida, Takahashi, ICISC 2012; the shuffle itself is Beaver's product.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.layout import Layout, RandomWords, SharedWords, Shuffle
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, dealt_mask
from mpcvit.engines.masked.protocols.nonnegative import sign_protocols
from mpcvit.engines.masked.ring_matmul import ring_matmul
from mpcvit.engines.masked.wires import Masked, Opening, Step, Wire, masked, share_of, tensor_of, words
from mpcvit.engines.shared import shared
from mpcvit.errors import ProtocolViolation
from mpcvit.fss.checks import Words
from mpcvit.ops import TensorType
from mpcvit.ops.order import Order, distinct_bound, pair_count, position_bits
from mpcvit.ops.pair_differences import PairDifferences
from mpcvit.ops.ranks import Ranks

_PAIRS = PairDifferences(1)


@dataclass(frozen=True)
class OrderByShuffle(Protocol):
    """Opens the shuffled scores, compares them, opens their ranks.

    Scores carry their position in bits below their own. So no two are equal, ranks are a permutation, and equal scores
    keep their order: the result does not depend on the shuffle.

    Attributes:
        count: scores, at least 2.
        comparison: gives shares of [x >= 0] of every difference of a pair.
    """

    count: int
    comparison: Protocol

    def with_guard(self) -> Protocol | None:
        comparison = self.comparison.with_guard()
        return None if comparison is None else OrderByShuffle(self.count, comparison)

    def openings(self) -> tuple[int, ...]:
        return (8 * self.count, *self.comparison.openings(), 8 * self.count)

    def layout(self) -> Layout:
        return (
            Shuffle(self.count),
            SharedWords((1, self.count, self.count)),
            SharedWords((1, self.count)),
            RandomWords((1, self.count)),
            self.comparison.layout(),
        )

    def online_work_s(self) -> float:
        return self.comparison.online_work_s()

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask = dealt_mask(*inputs)
        shuffle, fresh, comparison = drawn
        matrix = torch.eye(self.count, dtype=torch.int64)[None, shuffle]
        shuffled_mask = (mask << position_bits(self.count))[:, shuffle]
        compared = self.comparison.deal(session, comparison, _PAIRS.linear(fresh))
        return Dealt(sent=(matrix, shuffled_mask, *compared.sent))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        _, matrix, shuffled_mask, fresh, comparison = taken
        compared = self.comparison.prepare(side, comparison, _PAIRS.linear(fresh))
        return Prepared((matrix, shuffled_mask, fresh, compared))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (scores,) = masked(*inputs)
        matrix, shuffled_mask, fresh, comparison = prepared.state
        distinct = (scores.hat << position_bits(self.count)) + torch.arange(self.count - 1, -1, -1)
        shuffled = ring_matmul(matrix, distinct[..., None])[..., 0] - shuffled_mask
        opened = yield Opening(words(shuffled + fresh))
        hat = tensor_of(opened, (1, self.count))
        differences = Masked(_PAIRS.linear(hat), _PAIRS.linear(fresh))
        ahead = yield from self.comparison.run(party, comparison, differences)
        ranking = Ranks(self.count, 1)
        ranks = (ranking.reference if party == 0 else ranking.linear)(share_of(ahead, party))
        # the other party's share is the ranks less the own one: it says no more than the ranks do
        opened = yield Opening(words(ranks))
        order = torch.empty_like(matrix)
        order[:, self._places(opened)] = matrix
        return shared(order)

    def _places(self, opened: Words) -> torch.Tensor:
        """Return opened ranks as positions.

        Raises:
            ProtocolViolation: they are no permutation.
        """
        if not np.array_equal(np.sort(opened), np.arange(self.count, dtype=np.uint64)):
            raise ProtocolViolation(
                f"opened ranks of {self.count} scores that are no permutation",
                expected=f"every place from 0 to {self.count - 1} once",
                remedy="Scores left their calibrated range (export with a larger margin), or the other party does not "
                "follow the protocol.",
            )
        return tensor_of(opened, (self.count,))


@runs(Order)
def order(op: Order, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the shuffle with each way to compare."""
    (scores,) = inputs
    comparisons = sign_protocols((pair_count(scores.size),), distinct_bound(scores))
    return [OrderByShuffle(scores.size, comparison) for comparison in comparisons]
