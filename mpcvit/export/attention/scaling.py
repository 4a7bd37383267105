"""Scaling heads: Q (K^T V) / M, two small products and no comparison; with a mask, (mask * S) V / M."""

from __future__ import annotations

from mpcvit.export.attention.heads import Heads, scores_product
from mpcvit.export.builder import Builder, Value


def lower_scaling(b: Builder, name: str, heads: Heads) -> Value:
    """Output of scaling heads; K^T V is divided by M before it is rounded, so that it keeps its precision."""
    if heads.mask is not None:
        return _lower_masked(b, name, heads)
    context = b.matmul(f"{name}.context", heads.keys, heads.v)
    context = b.divide(f"{name}.context_mean", context, heads.count)
    return b.rescale(f"{name}.output", b.matmul(f"{name}.product", heads.q, context))


def _lower_masked(b: Builder, name: str, heads: Heads) -> Value:
    """The same where a mask forbids to begin with K^T V; of the division by M, the mask takes what is no power of 2."""
    exponent = heads.exponent
    scores = b.rescale(f"{name}.scores", scores_product(b, name, heads, 2.0**exponent / heads.count))
    product = b.matmul(f"{name}.product", scores, heads.v)
    return b.rescale(f"{name}.output", b.scale(f"{name}.mean", product, 2.0**-exponent, exponent))
