"""Sorting in the fast engine: the rows are shuffled in secret, then the ranks of the shuffled order are opened.

The dealer draws a uniform permutation and shares its matrix P and P mu, mu being the mask of the rows. From a Masked x,
P x = P x^ - P mu is local. All pairs of shuffled scores are compared, ranks are sums of the outcomes, and opening the
ranks shows a uniform permutation, whatever the scores are: it is the secret order after the dealer's, which no party
knows. Rows go to their places by public positions. (Secret permutation before a comparison sort: Hamada, Kikuchi,
Ikarashi, Chida, Takahashi, ICISC 2012; the shuffle itself is Beaver's product with a permutation matrix.)
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

#: Ring multiply-accumulates per second and core, roughly.
_MACS_PER_S = 4e9
_PAIRS = PairDifferences(1)


@dataclass(frozen=True)
class SortByShuffle(Protocol):
    """Opens the shuffled scores, compares them, opens their ranks.

    Scores carry their position in bits below their own. So no two are equal, ranks are a permutation, and equal scores
    keep their order: the result does not depend on the shuffle.

    Attributes:
        count: rows, at least 2.
        width: elements of a row.
        comparison: gives shares of [x >= 0] of every difference of a pair.
    """

    count: int
    width: int
    comparison: Protocol

    def openings(self) -> tuple[int, ...]:
        return (8 * self.count, *self.comparison.openings(), 8 * self.count)

    def material(self) -> tuple[int, int]:
        first, second = self.comparison.material()
        return first, second + 8 * self.count * (self.count + self.width + 1 + 1)

    def online_work_s(self) -> float:
        return self.comparison.online_work_s() + self.count**2 * (self.width + 1) / _MACS_PER_S

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        rows, scores = inputs
        assert rows is not None and scores is not None  # noqa: S101, PT018 - both Masked by plan
        order = dealing.permutation(self.count)
        dealing.share(torch.eye(self.count, dtype=torch.int64)[None, order])
        dealing.share(self._joined(rows, scores << _position_bits(self.count))[:, order])
        mask = dealing.random((1, self.count))
        self.comparison.deal(dealing, _PAIRS.linear(mask))
        dealing.share(torch.zeros((1, self.count), dtype=torch.int64))
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        material.permutation(self.count)
        matrix = material.share((1, self.count, self.count))
        shuffled_mask = material.share((1, self.count, self.width + 1))
        mask = material.random((1, self.count))
        comparison = self.comparison.prepare(material, _PAIRS.linear(mask))
        return Prepared((matrix, shuffled_mask, mask, comparison, material.share((1, self.count))))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        rows, scores = inputs
        matrix, shuffled_mask, mask, comparison, zero = prepared.state
        bits = _position_bits(self.count)
        distinct = (scores.hat << bits) + torch.arange(self.count - 1, -1, -1)
        shuffled = ring_matmul(matrix, self._joined(rows.hat, distinct)) - shuffled_mask
        opened = yield Opening(words(shuffled[..., -1] + mask))
        hat = tensor_of(opened, (1, self.count))
        differences = Masked(_PAIRS.linear(hat), _PAIRS.linear(mask))
        ahead = yield from self.comparison.run(party, comparison, differences)
        ranking = Ranks(self.count, 1)
        ranks = (ranking.reference if party == 0 else ranking.linear)(ahead.share)
        # the zero makes the share fresh, so that it says no more than the ranks do
        opened = yield Opening(words(ranks + zero))
        result = torch.empty_like(shuffled[..., :-1])
        result[:, self._places(opened)] = shuffled[..., :-1]
        return shared(result)

    def _joined(self, rows: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """[1, N, D + 1]: the scores as the last column."""
        return torch.cat([rows, scores[..., None]], dim=-1)

    def _places(self, opened: Words) -> torch.Tensor:
        """Opened ranks as positions.

        Raises:
            ProtocolViolation: they are no permutation.
        """
        if not np.array_equal(np.sort(opened), np.arange(self.count, dtype=np.uint64)):
            raise ProtocolViolation(
                f"opened ranks of {self.count} rows that are no permutation",
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
