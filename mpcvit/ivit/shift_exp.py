"""2^(x log2 e) with shifts and one integer division: ShiftExp (I-ViT, ICCV 2023, section 3.2)."""

from __future__ import annotations

import torch

#: 2 to the minus this is what a unit code becomes at most: codes at or below are 0 whatever they were.
_MAX_HALVINGS = 40


def shift_exp(codes: torch.Tensor, unit: int, fraction_bits: int) -> torch.Tensor:
    """Return exp(codes / unit) for codes <= 0, in units of 1 / (unit * 2**fraction_bits), rounded down.

    log2 e is taken for 1 + 1/2 - 1/16 = 1.4375, and 2^-f for 1 - f/2 with f in [0, 1). The first makes a result
    exp(0.0036 abs(x)) times too large, the second up to 1.062 times, and the two shifts move the exponent by
    -0.5 to 0.94 units: the relative error on -4 <= x <= 0 is below 0.10 for unit >= 32.

    I-ViT also stops at 2**-fraction_bits. Here smaller results go on down to 0.

    Args:
        codes: int64, x * unit.
        unit: codes per unit of x, at least 1.
        fraction_bits: n; the result is at most unit * 2**n, which is what exp(0) is.
    """
    distance = -(codes + (codes >> 1) - (codes >> 4))  # -x log2(e), in codes
    halvings, rest = distance // unit, distance % unit
    return ((2 * unit - rest) << fraction_bits) >> (halvings.clamp(max=_MAX_HALVINGS) + 1)
