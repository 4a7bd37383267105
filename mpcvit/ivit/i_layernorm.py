"""Layer norm with integer mean, integer square root and one integer division per token (I-ViT, ICCV 2023, section 3.4).

Axes: N tokens, D width.
"""

from __future__ import annotations

import torch

from mpcvit.ivit.dyadic import INT32, check_int32

#: Result = NORM_STEPS * (x - mean) / sqrt(sum((x - mean)**2)), so that its scale is sqrt(D) / NORM_STEPS.
NORM_STEPS = 1 << 30
_FIRST_ROOT = 1 << 16
_ITERATIONS = 10


def integer_sqrt(square: torch.Tensor) -> torch.Tensor:
    """Return sqrt(square) by ten Newton steps k <- floor((k + floor(square / k)) / 2) from 2**16.

    For 2**16 <= square < 2**32 the relative error is below 0.001 + 1 / sqrt(square). Smaller squares come out too
    large, as ten halvings of 2**16 lead no further down than 64: that is a limit, not an accident of rounding.

    Args:
        square: int64, 0 <= square < 2**32.
    """
    root = torch.full_like(square, _FIRST_ROOT)
    for _ in range(_ITERATIONS):
        root = (root + square // root) >> 1
    return root


def square_shift(width: int) -> int:
    """Return the bits to drop from 16-bit codes, so that the sum of the squares of ``width`` of them fits 32 bits.

    A mean-free token has at most 2**30 * width: the smallest s with 4**s > width / 2.
    """
    return (max(width // 2, 1).bit_length() + 1) // 2


def i_layernorm(codes_ND: torch.Tensor, epsilon: int) -> torch.Tensor:
    """Return (x - mean) / sqrt(sum((x - mean)**2)) in units of 2**-30; int64 of at most 32 bits.

    Gain and bias are the next change of scale's: I-ViT adds floor(bias / gain / scale) here, which fits 32 bits only
    where the gain is not small, and does not exist where it is 0.

    The root is accurate where a token's standard deviation is at least 256 * 2**s / sqrt(D) codes, s being
    :func:`square_shift`: 1.1 % of the range of 16-bit codes for D = 128.

    Args:
        codes_ND: int64 codes of 16 bits.
        epsilon: D times what is added to the variance, in units of 4**s codes squared.

    Raises:
        RangeError: the sum of squares does not fit 32 bits.
    """
    width = codes_ND.shape[-1]
    shift = square_shift(width)
    free_ND = codes_ND - (2 * codes_ND.sum(dim=-1, keepdim=True) + width) // (2 * width)
    short_ND = (free_ND + ((1 << shift) >> 1)) >> shift
    root_N1 = integer_sqrt(check_int32(short_ND.square().sum(dim=-1, keepdim=True) + epsilon))
    return check_int32(free_ND * ((INT32 - 1) // root_N1) >> (1 + shift))
