"""The range of least squared error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from mpcvit.quantize.range.rule import Ends, RangeRule, squared_error, thinned

#: Shares of the whole range that are tried.
_SHARES = tuple(step / 50 for step in range(50, 9, -1))
#: Values that errors are measured on; the whole range is that of all values.
_SAMPLE = 2**16


@dataclass(frozen=True)
class LeastError(RangeRule):
    """Both ends of the whole range times one share, then each end alone times a share of its own."""

    def ends(self, x_GN: torch.Tensor, bits: int, *, symmetric: bool) -> Ends:
        low, high = x_GN.aminmax(dim=1, keepdim=True)
        sample_GN = thinned(x_GN, _SAMPLE)
        ends = _best(sample_GN, (low, high), ((share, share) for share in _SHARES), bits, symmetric=symmetric)
        if not symmetric:
            ends = _best(sample_GN, ends, ((share, 1.0) for share in _SHARES), bits, symmetric=False)
            ends = _best(sample_GN, ends, ((1.0, share) for share in _SHARES), bits, symmetric=False)
        return ends


def _best(x_GN: torch.Tensor, ends: Ends, shares: Iterable[tuple[float, float]], bits: int, *, symmetric: bool) -> Ends:
    """The ends times those shares that give the least error."""
    best_low, best_high = ends
    best_error = torch.full_like(best_low, torch.inf)
    for low_share, high_share in shares:
        low, high = ends[0] * low_share, ends[1] * high_share
        error = squared_error(x_GN, (low, high), bits, symmetric=symmetric)
        better = error < best_error
        best_low, best_high = torch.where(better, low, best_low), torch.where(better, high, best_high)
        best_error = torch.where(better, error, best_error)
    return best_low, best_high
