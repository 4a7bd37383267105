"""The fixed-point type that every edge of a Program carries."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mpcvit.errors import RangeError

#: Codes stay below 2**MAX_CODE_BITS in magnitude, so that a product of two parties' work never nears 2**63 unseen.
MAX_CODE_BITS = 62


@dataclass(frozen=True, kw_only=True)
class QType:
    """Fixed point with ``frac`` fractional bits for real values in [lo, hi].

    A real value x is the code round(x * 2**frac) in Z_2^64, read as a signed 64-bit integer.

    Attributes:
        frac: fractional bits, in [0, 62].
        lo, hi: real bounds, finite, lo <= hi.

    Raises:
        RangeError: the bounds are not finite, not ordered, or need 62 bits or more.
    """

    frac: int
    lo: float
    hi: float

    def __post_init__(self) -> None:
        if not 0 <= self.frac <= MAX_CODE_BITS:
            raise RangeError(
                f"frac={self.frac}",
                expected=f"0 <= frac <= {MAX_CODE_BITS}",
                remedy="Choose fewer fractional bits at export.",
            )
        if not (math.isfinite(self.lo) and math.isfinite(self.hi) and self.lo <= self.hi):
            raise RangeError(
                f"bounds [{self.lo}, {self.hi}]",
                expected="finite bounds with lo <= hi",
                remedy="Calibrate on data that gives finite activations.",
            )
        if self.magnitude * 2.0**self.frac >= 2.0**MAX_CODE_BITS:
            raise RangeError(
                f"values up to {self.magnitude:g} with {self.frac} fractional bits",
                expected=f"codes below 2**{MAX_CODE_BITS}",
                remedy="Choose fewer fractional bits, or rescale before this point.",
            )

    @property
    def magnitude(self) -> float:
        """Largest absolute real value."""
        return max(abs(self.lo), abs(self.hi))

    @property
    def code_bound(self) -> int:
        """Largest absolute code."""
        return math.ceil(self.magnitude * 2.0**self.frac)

    @property
    def step(self) -> float:
        """The real value of one least significant bit (LSB)."""
        return 2.0**-self.frac


def pixel_type(bits: int) -> QType:
    """Return the type of a pixel of ``bits`` bits: integers from 0 to 2**bits - 1."""
    return QType(frac=0, lo=0.0, hi=float((1 << bits) - 1))


PIXEL = pixel_type(8)
"""An 8-bit pixel: what most Programs read of a picture."""
