"""The order of scores in the fast engine: they are shuffled in secret, then the ranks of the shuffled order are opened.

The dealer draws a uniform permutation and shares its matrix P and P mu, mu being the mask of the scores s. P s = P s^ -
P mu is local. All pairs of shuffled scores are compared, ranks are sums of the outcomes, and opening the ranks shows a
uniform permutation, whatever the scores are: the secret order behind the dealer's permutation, which no party knows. At
the opened places the rows of P become the matrix of the order. (Secret permutation before a comparison sort: Hamada,
Kikuchi, Ikarashi, Chida, Takahashi, ICISC 2012; the shuffle itself is Beaver's product.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.errors import ProtocolViolation
from mpcvit.ops.pair_differences import PairDifferences
from mpcvit.ops.protocol import Known, Prepared, Protocol, Secret
from mpcvit.ops.ranks import Ranks
from mpcvit.ops.types import TensorType
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.ring_matmul import ring_matmul
from mpcvit.session.wires import Masked, Opening, Step, Wire, Words, shared, tensor_of, words

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

    def openings(self) -> tuple[int, ...]:
        return (8 * self.count, *self.comparison.openings(), 8 * self.count)

    def material(self) -> tuple[int, int]:
        first, second = self.comparison.material()
        return first, second + 8 * self.count * (self.count + 2)

    def online_work_s(self) -> float:
        return self.comparison.online_work_s()

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (mask,) = inputs
        assert mask is not None  # noqa: S101 - Masked by plan
        shuffle = dealing.permutation(self.count)
        dealing.share(torch.eye(self.count, dtype=torch.int64)[None, shuffle])
        dealing.share((mask << _position_bits(self.count))[:, shuffle])
        fresh = dealing.random((1, self.count))
        self.comparison.deal(dealing, _PAIRS.linear(fresh))
        dealing.share(torch.zeros((1, self.count), dtype=torch.int64))
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        material.permutation(self.count)
        matrix = material.share((1, self.count, self.count))
        shuffled_mask = material.share((1, self.count))
        fresh = material.random((1, self.count))
        comparison = self.comparison.prepare(material, _PAIRS.linear(fresh))
        return Prepared((matrix, shuffled_mask, fresh, comparison, material.share((1, self.count))))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (scores,) = inputs
        matrix, shuffled_mask, fresh, comparison, zero = prepared.state
        distinct = (scores.hat << _position_bits(self.count)) + torch.arange(self.count - 1, -1, -1)
        shuffled = ring_matmul(matrix, distinct[..., None])[..., 0] - shuffled_mask
        opened = yield Opening(words(shuffled + fresh))
        hat = tensor_of(opened, (1, self.count))
        differences = Masked(_PAIRS.linear(hat), _PAIRS.linear(fresh))
        ahead = yield from self.comparison.run(party, comparison, differences)
        ranking = Ranks(self.count, 1)
        ranks = (ranking.reference if party == 0 else ranking.linear)(ahead.share)
        # the zero makes the share fresh, so that it says no more than the ranks do
        opened = yield Opening(words(ranks + zero))
        order = torch.empty_like(matrix)
        order[:, self._places(opened)] = matrix
        return shared(order)

    def _places(self, opened: Words) -> torch.Tensor:
        """Opened ranks as positions.

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


def distinct_bound(scores: TensorType) -> int:
    """Largest magnitude of a difference of two scores with their positions below them, as codes."""
    scale = 2.0**scores.frac
    span = math.ceil(scores.qtype.hi * scale) - math.floor(scores.qtype.lo * scale)
    return (span << _position_bits(scores.size)) + scores.size - 1


def _position_bits(count: int) -> int:
    """Bits that tell ``count`` positions apart."""
    return (count - 1).bit_length()
