"""x sigmoid(1.702 x) with shifts and integer divisions: ShiftGELU (I-ViT, ICCV 2023, section 3.3)."""

from __future__ import annotations

import torch

from mpcvit.ivit.shift_exp import shift_exp

#: gelu(x) is about x * sigmoid(GELU_GAIN * x), within 0.021.
GELU_GAIN = 1.702
#: Width of the sigmoid's codes.
SIGMOID_BITS = 8
_FRACTION_BITS = 23


def shift_gelu(codes: torch.Tensor, unit: int) -> torch.Tensor:
    """Return x sigmoid(1.702 x) of x = codes / (unit * 1.702), in units of 2**-7 codes: int64 of 8 bits more than
    ``codes``.

    The sigmoid is e(x - t) / (e(x - t) + e(-t)) with t = max(x, 0), so that no exponential overflows. I-ViT takes the
    largest x of a row for t, which underflows where that is above 11, and multiplies with floor((2**31 - 1) / sum),
    whose few digits cost up to a tenth of the largest values; the division here is exact.

    Off gelu by at most 0.03 + 0.008 abs(x), half of it gelu's own difference from x sigmoid(1.702 x), for units of at
    least 4.

    Args:
        codes: int64.
        unit: codes per unit of 1.702 x, 1 to 2**20. The scale is 1 / (unit * 1.702): 1.702 is folded into it.
    """
    # 2 unit 2**n, the largest sum of two exponentials, stays below 2**31
    fraction_bits = min(_FRACTION_BITS, 30 - unit.bit_length())
    top = codes.clamp(min=0)
    grown, still = (shift_exp(part, unit, fraction_bits) for part in (codes - top, -top))
    return codes * ((grown << (SIGMOID_BITS - 1)) // (grown + still))
