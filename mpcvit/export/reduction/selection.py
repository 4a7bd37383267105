"""What both selections have in common: the best in order, and one token for what is dropped."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_reduction import FoldedReduction
from mpcvit.ops.bounds import Bounds

#: Where ranges are calibrated, by how much scores may exceed those of calibration. More than elsewhere, because scores
#: that exceed it wrap around in comparisons: that ends the session where ranks contradict each other, and else orders
#: tokens wrongly without notice. A factor of 2 costs a bit per comparison.
SCORE_MARGIN = 4.0
#: Significant bits of the reciprocal of a public divisor.
_DIVISOR_BITS = 13
#: By how much that reciprocal may be off, relative.
DIVISOR = 2.0**-12


@dataclass(frozen=True)
class FusingWeights:
    """By what dropped tokens are multiplied before they are added up.

    Attributes:
        values: [1, N], of all tokens but a class token; as computed, some may be a little below 0.
        largest: bound on the sum of their magnitudes as computed; None where nothing is proven.
    """

    values: Value
    largest: float | None


def keep_and_fuse(
    b: Builder, name: str, x: Value, scores: Value, reduction: FoldedReduction, weights: FusingWeights | None = None
) -> Value:
    """Return the tokens of ``x`` that are kept, best first behind a class token, and one for the others, at x's
    precision: their mean, or their weighted sum.

    Args:
        scores: [N], of all tokens but a class token.
        weights: of the sum.
    """
    own, count = reduction.before.own, reduction.before.count
    rest = b.slice(f"{name}.patches", x, -2, own, count) if own else x
    chosen = b.slice(f"{name}.chosen", b.order(f"{name}.order", scores), -2, 0, reduction.chosen)
    # each row is one of the tokens
    columns = Bounds(rest.assumed.lo.amin(-2), rest.assumed.hi.amax(-2)).times(rest.type.qtype.step)
    kept = replace(b.matmul(f"{name}.kept", chosen, rest, columns), radius=rest.radius)
    # 1 for what is not chosen; a sum of what is not kept would have to wait until that is opened
    others = b.scale(f"{name}.not_chosen", b.sum(f"{name}.is_chosen", chosen, axis=-2), -1.0, 0)
    left = count - own - reduction.chosen
    is_dropped = b.offset(f"{name}.is_dropped", others, 1.0)
    if weights is None:
        dropped = b.matmul(f"{name}.dropped", is_dropped, rest, columns.times(left))
        fused = _divided(b, f"{name}.fused", dropped, left)
        largest: float | None = 1 + DIVISOR
    else:
        taken = b.multiply(f"{name}.dropped_weights", is_dropped, weights.values)
        largest = weights.largest
        known = None if largest is None else Bounds.up_to(largest * columns.magnitude)
        fused = b.rescale(f"{name}.fused", b.matmul(f"{name}.dropped", taken, rest, known), x.type.frac)
    if rest.radius is not None and largest is not None:
        fused = replace(fused, radius=rest.radius * largest + b.rounding(fused))
    parts = [b.slice(f"{name}.own", x, -2, 0, own)] if own else []
    return b.concat(name, [*parts, kept, fused], axis=-2)


def _divided(b: Builder, name: str, total: Value, count: int) -> Value:
    """Return total / count, one rescaling beside the opening of what is kept: tokens leave room in the ring for
    that.
    """
    if count == 1:
        return total
    exponent = count.bit_length() - 1
    bits = exponent if count == 1 << exponent else exponent + _DIVISOR_BITS
    return b.rescale(name, b.scale(f"{name}.scaled", total, 1 / count, bits), total.type.frac)
