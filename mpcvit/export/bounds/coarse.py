"""The grid on which bounds are published: exact ones are functions of secret weights, and would tell them."""

from __future__ import annotations

import math

#: Published bounds are 2**(k / 8).
_PER_OCTAVE = 8
#: What floating-point arithmetic may have lost on the way to a bound, relative.
_FLOAT_SLACK = 2.0**-40


def coarse(lo: float, hi: float) -> tuple[float, float]:
    """Return a range around [lo, hi] with ends on the grid; 0 stays 0."""
    return 0.0 - _away(-lo), _away(hi)


def power_of_two(largest: float) -> float:
    """Return the least power of two that is not below ``largest`` > 0."""
    return 2.0 ** math.ceil(math.log2(largest))


def _away(end: float) -> float:
    """Return an upper end, moved up to the grid."""
    if end == 0:
        return 0.0
    place = _PER_OCTAVE * math.log2(abs(end) * (1 + math.copysign(_FLOAT_SLACK, end)))
    return math.copysign(2.0 ** ((math.ceil(place) if end > 0 else math.floor(place)) / _PER_OCTAVE), end)
