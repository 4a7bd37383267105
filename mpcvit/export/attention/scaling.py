"""Scaling heads: Q (K^T V) / M, two small products and no comparison."""

from __future__ import annotations

from mpcvit.export.builder import Builder, Value


def lower_scaling(b: Builder, name: str, q: Value, keys: Value, v: Value) -> Value:
    """Output of scaling heads; K^T V is divided by M before it is rounded, so that it keeps its precision."""
    context = b.matmul(f"{name}.context", keys, v)
    context = b.divide(f"{name}.context_mean", context, v.type.shape[-2])
    return b.rescale(f"{name}.output", b.matmul(f"{name}.product", q, context))
