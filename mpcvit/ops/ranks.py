"""From the outcomes of all pairs to ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.grouping import Grouping
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Ranks(LinearMap):
    """How many members of its group are ahead of each candidate, from [i ahead of j] for every pair i < j.

    0 is the first place. If the outcomes come from an order, ranks are a permutation within every group. Local, exact.

    Attributes:
        count, groups: as in :class:`mpcvit.ops.grouping.Grouping`; the pairs are in its order.
    """

    name: ClassVar[str] = "ranks"
    public_bounds: ClassVar[bool] = True
    count: int
    groups: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (ahead,) = inputs
        pairs = Grouping(self.count, self.groups).pair_count
        if ahead.shape != (pairs,) or ahead.frac:
            raise ProgramError(
                f"ranks of {self.count} candidates from {ahead}",
                expected=f"one integer outcome for each of {pairs} pairs",
                remedy="Compare the pairs of the same grouping.",
            )
        return (self.count,), 0

    def bounds(self, *inputs: Bounds) -> Bounds:
        return Bounds.within(0, Grouping(self.count, self.groups).largest - 1, (self.count,))

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        left, _ = Grouping(self.count, self.groups).pairs
        return self.linear(*inputs) + torch.bincount(left, minlength=self.count)

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (ahead,) = inputs
        left, right = Grouping(self.count, self.groups).pairs
        ranks = ahead.new_zeros((*ahead.shape[:-1], self.count))
        return ranks.index_add_(-1, right, ahead).index_add_(-1, left, ahead, alpha=-1)
