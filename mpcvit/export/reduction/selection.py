"""What both selections have in common: the best in order, and one token for what is dropped."""

from __future__ import annotations

import torch

from mpcvit.export.builder import Builder, Value, widen
from mpcvit.export.fold_reduction import FoldedReduction

#: By how much scores may exceed those of calibration. More than elsewhere, because scores that exceed it wrap around in
#: comparisons: that ends the session where ranks contradict each other, and else orders tokens wrongly without notice.
#: A factor of 2 costs a bit per comparison.
_MARGIN = 4.0
#: Significant bits of the reciprocal of a public divisor.
_DIVISOR_BITS = 13


def score_bounds(real: torch.Tensor) -> tuple[float, float]:
    """The range that is declared for scores like these."""
    return widen(real, _MARGIN)


def keep_and_fuse(b: Builder, name: str, x: Value, scores: Value, reduction: FoldedReduction) -> Value:
    """The tokens of ``x`` that are kept, best first behind a class token, and the mean of the others, at x's precision.

    Args:
        scores: [N], of all tokens but a class token.
    """
    own, count = reduction.before.own, reduction.before.count
    rest = b.slice(f"{name}.patches", x, -2, own, count) if own else x
    chosen = b.slice(f"{name}.chosen", b.order(f"{name}.order", scores), -2, 0, reduction.chosen)
    kept = b.matmul(f"{name}.kept", chosen, rest, (x.type.qtype.lo, x.type.qtype.hi))
    # 1 for what is not chosen; a sum of what is not kept would have to wait until that is opened
    others = b.scale(f"{name}.not_chosen", b.sum(f"{name}.is_chosen", chosen, axis=-2), -1.0, 0)
    dropped = b.matmul(f"{name}.dropped", b.offset(f"{name}.is_dropped", others, 1.0), rest)
    fused = _divided(b, f"{name}.fused", dropped, count - own - reduction.chosen)
    parts = [b.slice(f"{name}.own", x, -2, 0, own)] if own else []
    return b.concat(name, [*parts, kept, fused], axis=-2)


def _divided(b: Builder, name: str, total: Value, count: int) -> Value:
    """total / count, one rescaling beside the opening of what is kept: tokens leave room in the ring for that."""
    if count == 1:
        return total
    exponent = count.bit_length() - 1
    bits = exponent if count == 1 << exponent else exponent + _DIVISOR_BITS
    return b.rescale(name, b.scale(f"{name}.scaled", total, 1 / count, bits), total.type.frac)
