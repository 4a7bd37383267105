"""Real values to ring codes and back, rounding to nearest.

CrypTen's own encoder multiplies in float32 and truncates toward zero, which biases every value; ours does neither.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpcvit.errors import InputError
from mpcvit.ring.qtype import QType

Codes = npt.NDArray[np.int64]


def encode(values: npt.ArrayLike, qtype: QType) -> Codes:
    """Return the int64 codes of real ``values``: round(value * 2**frac), ties to even.

    Args:
        values: real numbers of any shape, each finite and in [qtype.lo, qtype.hi].
        qtype: the fixed-point type.

    Raises:
        InputError: a value is NaN, infinite or outside the bounds. The message gives counts and bounds, no value.
    """
    real = np.asarray(values, dtype=np.float64)
    if not np.isfinite(real).all():
        raise InputError(
            f"{int((~np.isfinite(real)).sum())} of {real.size} values that are NaN or infinite",
            expected="finite numbers",
            remedy="Check how the input was decoded and normalised.",
        )
    outside = (real < qtype.lo - qtype.step) | (real > qtype.hi + qtype.step)
    if outside.any():
        raise InputError(
            f"{int(outside.sum())} of {real.size} values outside [{qtype.lo:g}, {qtype.hi:g}]",
            expected=f"every value inside [{qtype.lo:g}, {qtype.hi:g}]",
            remedy="Give the picture as 8-bit RGB, or as floats normalised the way the model's manifest says.",
        )
    codes: Codes = np.rint(real * 2.0**qtype.frac).astype(np.int64)
    return codes


def decode(codes: Codes, frac: int) -> npt.NDArray[np.float64]:
    """Return the float64 values of ``codes`` with ``frac`` fractional bits; exact below 2**53."""
    values: npt.NDArray[np.float64] = np.asarray(codes, dtype=np.float64) * 2.0**-frac
    return values
