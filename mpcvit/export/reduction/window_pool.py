"""Window pooling: sums are local, and a division by a power of two adds fractional bits instead of a rescaling."""

from __future__ import annotations

from dataclasses import replace

from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_reduction import FoldedReduction
from mpcvit.export.reduction.lowering import Read, ReductionLowering
from mpcvit.models.kinds import ReductionKind

#: By how much the reciprocal of a public divisor may be off, relative.
_DIVISOR = 2.0**-12


def lower_window_pool(
    b: Builder, name: str, x: Value, reduction: FoldedReduction, attention: Read | None = None
) -> Value:
    """Return the tokens of ``x`` that enter the block. With windows of 2^e patches they have e more fractional bits."""
    before, after = reduction.before, reduction.after
    assert before.side is not None and after.side is not None  # noqa: S101, PT018 - the configuration is checked
    own, side, window, width = before.own, after.side, before.side // after.side, x.type.shape[-1]
    patches = b.slice(f"{name}.patches", x, -2, own, before.count) if own else x
    grid = b.reshape(f"{name}.grid", patches, side, window, side, window, width)
    sums = b.sum(f"{name}.sums", b.sum(f"{name}.rows", grid, axis=-2), axis=-4)
    total = b.reshape(f"{name}.windows", sums, side**2, width)
    count = window**2
    exponent = count.bit_length() - 1
    if count == 1 << exponent:
        pooled = b.scale(f"{name}.means", total, 1 / count, exponent)
    else:
        pooled = b.divide(f"{name}.means", total, count, x.type.frac)
    if x.radius is not None:  # a mean is no longer than the longest; it is rounded twice at most
        pooled = replace(pooled, radius=x.radius * (1 + _DIVISOR) + 2 * b.rounding(pooled))
    if not own:
        return pooled
    class_token = b.widen_frac(f"{name}.own_aligned", b.slice(f"{name}.own", x, -2, 0, own), pooled.type.frac)
    return b.concat(name, [class_token, pooled], axis=-2)


LOWERING = ReductionLowering(ReductionKind.WINDOW_POOL, lower_window_pool)
