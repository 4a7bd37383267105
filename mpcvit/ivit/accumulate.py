"""Products of matrices of codes, summed in 32 bits."""

from __future__ import annotations

import torch

from mpcvit.errors import RangeError
from mpcvit.ivit.dyadic import check_int32

#: float64 holds every integer up to here exactly.
_EXACT = 1 << 53


def accumulate(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return left @ right of int64 codes, exact, int64; batched like ``torch.matmul``.

    torch's product of int64 is not vectorised. No sum on the way reaches 2**53, so that the product in float64, which
    is used instead, is the same integer whatever the order of summation.

    Raises:
        RangeError: a sum does not fit 32 bits.
    """
    largest = int(left.abs().max()) * int(right.abs().max()) * left.shape[-1]
    if largest >= _EXACT:
        raise RangeError(
            f"sums of up to {largest}", expected=f"less than {_EXACT}", remedy="Give codes of at most 16 bits."
        )
    return check_int32(torch.matmul(left.double(), right.double()).long())
