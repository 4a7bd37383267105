"""Pooled heads: keys and values averaged over windows, which is local, then softmax heads on few columns."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from mpcvit.export.attention.heads import AttentionLowering, Heads
from mpcvit.export.attention.softmax import lower_softmax
from mpcvit.export.builder import Builder, Value
from mpcvit.models.attention.pooled_kv import PooledKV
from mpcvit.models.kinds import AttentionKind


def lower_pooled_kv(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of pooled heads."""
    kernel = cast(PooledKV, heads.kernel)
    if kernel.window == 1:
        return lower_softmax(b, name, heads)
    columns = b.permute(f"{name}.v_columns", heads.v, 0, 2, 1)
    v = b.permute(f"{name}.pooled_v", _pool(b, f"{name}.pooled_v_columns", columns, kernel), 0, 2, 1)
    keys = _pool(b, f"{name}.pooled_keys", heads.keys, kernel)
    # means are rounded unless they are over a power of two
    exact = kernel.window**2 & (kernel.window**2 - 1) == 0
    output = lower_softmax(b, name, replace(heads, keys=keys, v=v, scores=heads.scores if exact else None))
    return output if exact else replace(output, mix=None)


def _pool(b: Builder, name: str, x: Value, kernel: PooledKV) -> Value:
    """Return [H, D, side^2] from [H, D, M], and one column more before for a class token.

    Means over a power of two get more fractional bits instead of a rescaling.
    """
    heads, width, tokens = x.type.shape
    own, side, window = tokens - kernel.patches, kernel.side, kernel.window
    patches = b.slice(f"{name}.patches", x, -1, own, tokens) if own else x
    grid = b.reshape(f"{name}.grid", patches, heads, width, side, window, side, window)
    rows = b.sum(f"{name}.rows", grid, axis=-1)
    squares = b.reshape(f"{name}.squares", b.sum(f"{name}.sums", rows, axis=-3), heads, width, side**2)
    count = window**2
    exponent = count.bit_length() - 1
    if count == 1 << exponent:
        pooled = b.scale(f"{name}.means", squares, 1 / count, exponent)
    else:
        pooled = b.divide(f"{name}.means", squares, count)
    if not own:
        return pooled
    class_token = b.slice(f"{name}.class_token", x, -1, 0, own)
    if pooled.type.frac != x.type.frac:
        class_token = b.scale(f"{name}.class_scaled", class_token, 1.0, pooled.type.frac - x.type.frac)
    return b.concat(f"{name}.joined", [class_token, pooled], axis=-1)


LOWERING = AttentionLowering(AttentionKind.POOLED_KV, lower_pooled_kv)
