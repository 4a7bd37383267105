"""Differences between the members of each group: what a ranking compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.bounds import Bounds
from mpcvit.ops.grouping import Grouping
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class PairDifferences(LinearMap):
    """x_i - x_j for every pair i < j of one group, group by group. Local, exact.

    Attributes:
        groups: as in :class:`mpcvit.ops.grouping.Grouping`.
    """

    name: ClassVar[str] = "pair_differences"
    groups: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return (Grouping.of(self.name, x, self.groups).pair_count,), x.frac

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        left, right = Grouping(x.lo.shape[-1], self.groups).pairs
        return Bounds(x.lo[left] - x.hi[right], x.hi[left] - x.lo[right])

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        left, right = Grouping(x.shape[-1], self.groups).pairs
        return x[..., left] - x[..., right]
