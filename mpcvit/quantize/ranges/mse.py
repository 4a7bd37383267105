"""The range of least squared error."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.quantize.ranges.rule import Ends, RangeRule, squared_error
from mpcvit.quantize.ranges.sample import Sample

#: Shares of the whole range that are tried.
_SHARES = tuple(step / 50 for step in range(50, 9, -1))
_WHOLE = (1.0,) * len(_SHARES)
#: Values that errors are measured on.
_SAMPLE = 2**14
#: How many values, for all shares, are rounded in one go.
_VALUES_AT_ONCE = 2**16


@dataclass(frozen=True)
class LeastError(RangeRule):
    """Both ends of the whole range times one share, then each end alone times a share of its own."""

    def ends(self, x_GN: torch.Tensor, bits: int, *, symmetric: bool) -> Ends:
        low, high = x_GN.aminmax(dim=1, keepdim=True)
        sample = Sample.of(x_GN, _SAMPLE)
        ends = _best(sample, (low, high), (_SHARES, _SHARES), bits, symmetric=symmetric)
        if not symmetric:
            ends = _best(sample, ends, (_SHARES, _WHOLE), bits, symmetric=False)
            ends = _best(sample, ends, (_WHOLE, _SHARES), bits, symmetric=False)
        return ends


def _best(
    sample: Sample, ends: Ends, shares: tuple[tuple[float, ...], tuple[float, ...]], bits: int, *, symmetric: bool
) -> Ends:
    """Return the ends times those shares (of the lower, of the higher) that give the least error."""
    low, high = (end * torch.tensor(share).to(end)[:, None, None] for end, share in zip(ends, shares, strict=True))
    at_once = max(1, _VALUES_AT_ONCE // sample.values.numel())
    parts = zip(low.split(at_once), high.split(at_once), strict=True)
    errors = torch.cat([squared_error(sample, part, bits, symmetric=symmetric) for part in parts])
    best = errors.argmin(dim=0, keepdim=True)
    return low.gather(0, best)[0], high.gather(0, best)[0]
