"""The values, or the positions, of the candidates with the first ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.ops.grouping import Grouping
from mpcvit.ops.op import Op
from mpcvit.ops.pick_by_dpf import MAX_GROUP, PickByDpf
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import (
    less_than_zero,
    less_than_zero_correlations,
    multiply,
    multiply_correlations,
    shared,
)
from mpcvit.session.session import Session


@dataclass(frozen=True)
class Pick(Op):
    """Per group and place p < top, the sum of the values of its members with rank p: of one, if ranks are an order.

    Inputs: ranks, and values; or ranks alone, for the candidates' positions as integers. The result holds group after
    group, each with its places in order; a group of fewer than ``top`` members gives all. Exact. On stock shares one
    batch of comparisons (8 rounds for 2 parties), and a product if there are values.

    Attributes:
        groups: as in :class:`mpcvit.ops.grouping.Grouping`.
        top: places that each group keeps, at least 1.
    """

    name: ClassVar[str] = "pick"
    groups: int
    top: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        ranks, *values = inputs
        grouping = Grouping.of(self.name, ranks, self.groups)
        fits = all(value.shape == ranks.shape for value in values)
        if self.top < 1 or grouping.largest > MAX_GROUP or len(values) > 1 or not fits:
            raise ProgramError(
                f"pick of the first {self.top} of {grouping.largest} by ranks {ranks} from {len(values)} values",
                expected=f"top >= 1, groups of at most {MAX_GROUP}, and at most one vector, of the ranks' length",
                remedy="Choose more groups, or values of the same candidates.",
            )
        if ranks.frac or ranks.qtype.lo < 0 or ranks.qtype.hi > grouping.largest - 1:
            raise RangeError(
                f"ranks {ranks}",
                expected=f"integers from 0 to {grouping.largest - 1}",
                remedy="Take ranks of the same grouping.",
            )
        return (grouping.kept(self.top),), values[0].frac if values else 0

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        ranks, *values = inputs
        candidates, places, outputs = Grouping(ranks.shape[-1], self.groups).places(self.top)
        wanted = values[0][..., candidates] if values else candidates.to(ranks.dtype)
        picked = torch.where(ranks[..., candidates] == places, wanted, 0)
        return _gather(picked, outputs)

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        return (True,) * count

    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
        return [PickByDpf(Grouping(inputs[0].size, self.groups), self.top, len(inputs) == 2)]

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        count = inputs[0].size
        places, bounds = self._places(count)
        consumed = less_than_zero_correlations((bounds, count), parties)
        return consumed + (multiply_correlations((places, count), (count,)) if len(inputs) == 2 else [])

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        ranks, *values = inputs
        count, one = ranks.share.shape[-1], 1 if session.index == 0 else 0
        places, bounds = self._places(count)
        with session.step("compare"):
            distance = ranks.share - one * torch.arange(1, bounds + 1)[:, None]
            below = less_than_zero(shared(distance), session.parties).share  # [rank < 1], [rank < 2], ..
        if places > bounds:
            below = torch.cat([below, torch.full((1, count), one)])  # every rank is below the size of the group
        equal = below - torch.cat([torch.zeros((1, count), dtype=torch.int64), below[:-1]])
        if values:
            with session.step("select"):
                chosen = multiply(shared(equal), values[0]).share
        else:
            chosen = equal * torch.arange(count)
        candidates, place, outputs = Grouping(count, self.groups).places(self.top)
        return shared(_gather(chosen[place, candidates], outputs))

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return self._places(inputs[0].size)[0] * inputs[0].size if len(inputs) == 2 else 0

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        return self._places(inputs[0].size)[1] * inputs[0].size

    def _places(self, count: int) -> tuple[int, int]:
        """(places that the largest group keeps, comparisons per rank that tell them apart)."""
        largest = Grouping(count, self.groups).largest
        return min(self.top, largest), min(self.top, largest - 1)


def _gather(terms: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Sums of the last axis' terms by output position."""
    total = terms.new_zeros((*terms.shape[:-1], int(outputs[-1]) + 1))
    return total.index_add_(-1, outputs, terms)
