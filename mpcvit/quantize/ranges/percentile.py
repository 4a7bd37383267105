"""The range without its tails (RepQ-ViT, ICCV 2023, and others before it)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mpcvit.errors import ConfigError
from mpcvit.quantize.ranges.rule import Ends, RangeRule, squared_error
from mpcvit.quantize.ranges.sample import Sample

#: Values that errors are measured on.
_SAMPLE = 2**14


@dataclass(frozen=True)
class Percentile(RangeRule):
    """From the quantile 1 - p to the quantile p.

    Attributes:
        shares: values of p to choose from, each in (0.5, 1]; per group, the one of least squared error is taken.

    Raises:
        ConfigError: no share, or one outside the range.
    """

    shares: tuple[float, ...] = (0.9999,)

    def __post_init__(self) -> None:
        if not self.shares or not all(0.5 < share <= 1 for share in self.shares):
            raise ConfigError(
                f"percentiles {self.shares}", expected="some shares in (0.5, 1]", remedy="Correct the percentiles."
            )

    def ends(self, x_GN: torch.Tensor, bits: int, *, symmetric: bool) -> Ends:
        ordered_GN = x_GN.sort(dim=1).values
        low, high = _between(ordered_GN, self.shares[0])
        if len(self.shares) == 1:
            return low, high
        sample = Sample.of(x_GN, _SAMPLE)
        error = squared_error(sample, (low, high), bits, symmetric=symmetric)
        for share in self.shares[1:]:
            others = _between(ordered_GN, share)
            other_error = squared_error(sample, others, bits, symmetric=symmetric)
            better = other_error < error
            low, high = torch.where(better, others[0], low), torch.where(better, others[1], high)
            error = torch.where(better, other_error, error)
        return low, high


def quantile(ordered_GN: torch.Tensor, share: float) -> torch.Tensor:
    """Return the quantiles [G, 1] of sorted values, interpolated between neighbours as numpy does."""
    position = share * (ordered_GN.shape[1] - 1)
    below = math.floor(position)
    return torch.lerp(ordered_GN[:, below], ordered_GN[:, math.ceil(position)], position - below)[:, None]


def _between(ordered_GN: torch.Tensor, share: float) -> Ends:
    """Return the quantiles 1 - ``share`` and ``share``."""
    return quantile(ordered_GN, 1 - share), quantile(ordered_GN, share)
