"""What all range rules have in common. Axes: G groups with a range each, N values."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from mpcvit.quantize.ranges.grid import CodeGrid
from mpcvit.quantize.ranges.sample import Sample

Ends = tuple[torch.Tensor, torch.Tensor]


class RangeRule(ABC):
    """Chooses, for a uniform quantizer, where the range of its values begins and ends."""

    @abstractmethod
    def ends(self, x_GN: torch.Tensor, bits: int, *, symmetric: bool) -> Ends:
        """Return the lowest and the highest value to cover, [G, 1] each.

        Args:
            bits, symmetric: of the grid that will cover the range.
        """


def squared_error(sample: Sample, ends: Ends, bits: int, *, symmetric: bool) -> torch.Tensor:
    """Return the mean squared error [..., G, 1] of rounding to the grid on a range; the ends may have axes before G."""
    return sample.error(CodeGrid.covering(*ends, bits, symmetric=symmetric).rounded(sample.values))[..., None]
