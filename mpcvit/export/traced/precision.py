"""Fractional bits on the way through a traced graph."""

from __future__ import annotations

import math

import torch

from mpcvit.export.bounds.balls import box, gain
from mpcvit.export.builder import Builder, Value

#: Significant bits of a public factor that is no power of two.
_FACTOR_BITS = 12
#: Of a residual stream: fractional bits it keeps however long its rows may be, and what is worth shortening it by.
_LEAST, _WORTHWHILE = 8, 2


def times(b: Builder, name: str, x: Value, factor: float) -> Value:
    """Return x times a public factor, exact for powers of two, not rescaled: local.

    Raises:
        RangeError: the product does not fit the ring.
    """
    if factor == 0:
        return b.scale(name, x, 0.0, 0)
    exponent = math.floor(math.log2(abs(factor)))
    if abs(factor) == 2.0**exponent:
        return b.scale(name, x, factor, max(-exponent, 0))
    return b.scale(name, x, factor, max(_FACTOR_BITS - exponent, 0))


def aligned(b: Builder, name: str, left: Value, right: Value) -> tuple[Value, Value]:
    """Return both with the fractional bits of the one that has more."""
    frac = max(left.type.frac, right.type.frac)
    return b.widen_frac(f"{name}.left", left, frac), b.widen_frac(f"{name}.right", right, frac)


def stream_sum(b: Builder, name: str, left: Value, right: Value) -> Value:
    """Return left + right at ordinary precision, or with fewer fractional bits where rows may be long."""
    frac = stream_frac(b, left, right)
    if frac > b.precision.frac - _WORTHWHILE:
        frac = b.precision.frac
    left, right = (b.rescale(f"{name}.{side}", x, frac) for side, x in (("left", left), ("right", right)))
    return b.add(name, left, right)


def stream_frac(b: Builder, left: Value, right: Value) -> int:
    """Return the fractional bits for rows of a sum that are at most as long as both together."""
    if left.bounds is None or right.bounds is None:
        return b.precision.frac
    longest = max(left.largest_row + right.largest_row, b.precision.relu_slack)
    room: int = b.precision.stream_bits - math.ceil(math.log2(longest))
    return min(b.precision.frac, max(room, _LEAST))


def written_radius(b: Builder, x: Value, weight: torch.Tensor, bias: torch.Tensor) -> float | None:
    """Return a bound on the length of the rows of x @ weight + bias; None where x is not proven.

    Args:
        weight: [in, out].
        bias: [..., out].
    """
    if x.bounds is None:
        return None
    step, matrix = x.type.qtype.step, b.encoded(weight)
    bias = b.encoded(bias, x.type.frac + b.weight_frac(weight))
    hi, lo = (end.reshape(-1, len(weight)) * step for end in (x.bounds.hi, x.bounds.lo))
    middle, half = (hi.amax(0) + lo.amin(0)) / 2, (hi.amax(0) - lo.amin(0)) / 2
    around_middle = box(half[:, None] * matrix) + float((bias + middle @ matrix).norm(dim=-1).max())
    around_zero = x.largest_row * gain(matrix) + float(bias.norm(dim=-1).max())
    return min(around_middle, around_zero)
