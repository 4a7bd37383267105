"""The values, or the positions, of the candidates with the first ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.grouping import Grouping
from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType

#: Members of a group whose places engines can tell apart.
MAX_GROUP = 1 << 12


@dataclass(frozen=True)
class Pick(Op):
    """Per group and place p < top, the sum of the values of its members with rank p: of one, if ranks are an order.

    Inputs: ranks, and values; or ranks alone, for the candidates' positions as integers. The result holds group after
    group, each with its places in order; a group of fewer than ``top`` members gives all. Exact. On stock shares one
    batch of comparisons (8 rounds for 2 parties), and a product if there are values.

    Attributes:
        groups: as in :class:`mpcvit.ops.grouping.Grouping`.
        top: places that each group keeps, at least 1.
        counted: whether the result ends with how many candidates have the rank of a place, over all places: as many as
            there are places, unless ranks are no order.
    """

    name: ClassVar[str] = "pick"
    groups: int
    top: int
    counted: bool = False

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
        if self.counted and values and values[0].frac:
            raise ProgramError(
                f"a count beside values {values[0]}", expected="integers", remedy="Count where positions are picked."
            )
        return (grouping.kept(self.top) + self.counted,), values[0].frac if values else 0

    def bounds(self, *inputs: Bounds) -> Bounds:
        ranks, *values = inputs
        grouping = Grouping(ranks.lo.numel(), self.groups)
        lo, hi = values[0].hull if values else (0.0, ranks.lo.numel() - 1.0)
        picked = Bounds.within(lo, hi, (grouping.kept(self.top) + self.counted,))
        if self.counted:  # where ranks are an order, every place has one candidate
            picked.lo[-1] = picked.hi[-1] = grouping.kept(self.top)
        return picked

    def window(self, inputs: Sequence[TensorType]) -> tuple[int, int]:
        return 0, Grouping(inputs[0].size, self.groups).largest - 1

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        ranks, *values = inputs
        candidates, places, outputs = Grouping(ranks.shape[-1], self.groups).places(self.top)
        wanted = values[0][..., candidates] if values else candidates.to(ranks.dtype)
        chosen = ranks[..., candidates] == places
        return gather(torch.where(chosen, wanted, 0), outputs, chosen.to(ranks.dtype) if self.counted else None)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return self.place_counts(inputs[0].size)[0] * inputs[0].size if len(inputs) == 2 else 0

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        return self.place_counts(inputs[0].size)[1] * inputs[0].size

    def place_counts(self, count: int) -> tuple[int, int]:
        """Return (places that the largest group keeps, comparisons per rank that tell them apart)."""
        largest = Grouping(count, self.groups).largest
        return min(self.top, largest), min(self.top, largest - 1)


def gather(terms: torch.Tensor, outputs: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    """Return sums of the last axis' terms by output position, then the sum of ``counted`` if there is one."""
    total = terms.new_zeros((*terms.shape[:-1], int(outputs[-1]) + 1)).index_add_(-1, outputs, terms)
    return total if counted is None else torch.cat([total, counted.sum(-1, keepdim=True)], dim=-1)
