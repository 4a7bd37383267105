"""The whole range."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.quantize.ranges.rule import Ends, RangeRule


@dataclass(frozen=True)
class MinMax(RangeRule):
    """From the smallest to the largest value: nothing that was seen is clamped."""

    def ends(self, x_GN: torch.Tensor, bits: int, *, symmetric: bool) -> Ends:
        low, high = x_GN.aminmax(dim=1, keepdim=True)
        return low, high
