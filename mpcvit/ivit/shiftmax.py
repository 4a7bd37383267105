"""Rows of weights with sum 1, in integers: Shiftmax (I-ViT, ICCV 2023, section 3.2).

Axes: N queries, M keys.
"""

from __future__ import annotations

import torch

from mpcvit.ivit.dyadic import INT32
from mpcvit.ivit.shift_exp import shift_exp

_FRACTION_BITS = 15
#: Sums of a row stay below this, so that the integer reciprocal of a sum has at least 7 bits.
_LARGEST_SUM = 1 << 24


def shiftmax(scores_NM: torch.Tensor, unit: int, bits: int) -> torch.Tensor:
    """Return softmax(scores / unit) over the last axis, in units of 2**(1 - bits); int64, 0 to 2**(bits - 1).

    I-ViT's n is 15. It is less here where the sum of a row could come near 2**31, which would leave its reciprocal no
    digits.

    Args:
        scores_NM: int64 codes.
        unit: codes per unit of a score; unit times the number of keys is less than 2**24.
        bits: width of the result.
    """
    room = _LARGEST_SUM // (unit * scores_NM.shape[-1])
    below_NM = scores_NM - scores_NM.amax(dim=-1, keepdim=True)
    return row_shares(shift_exp(below_NM, unit, min(_FRACTION_BITS, room.bit_length() - 1)), bits)


def row_shares(weights_NM: torch.Tensor, bits: int, extra: int = 0) -> torch.Tensor:
    """Return the weights / (sum of the row + extra), in units of 2**(1 - bits), rounded down: one division per row.

    The reciprocal floor((2**31 - 1) / sum) costs a relative error of up to sum / 2**31.

    Args:
        weights_NM: int64, at least 0; the sum of a row and ``extra`` is less than 2**31.
        bits: width of the result.
        extra: at least 0; a row whose sum with it is 0 becomes 0.
    """
    total_N1 = (weights_NM.sum(dim=-1, keepdim=True) + extra).clamp(min=1)
    return weights_NM * ((INT32 - 1) // total_N1) >> (32 - bits)
