"""Scaling heads: Q (K^T V) / M, two small products and no comparison; with a mask, (mask * S) V / M."""

from __future__ import annotations

from dataclasses import replace

from mpcvit.export.attention.heads import AttentionLowering, Heads, scores_product
from mpcvit.export.builder import Builder, Mix, Value
from mpcvit.models.kinds import AttentionKind
from mpcvit.ops.bounds import Bounds

#: By how much the reciprocal of a public divisor may be off, relative.
_DIVISOR = 2.0**-12


def lower_scaling(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of scaling heads; K^T V is divided by M before it is rounded, which keeps its precision."""
    if heads.mask is not None:
        return _lower_masked(b, name, heads)
    context = b.matmul(f"{name}.context", heads.keys, heads.v)
    context = b.divide(f"{name}.context_mean", context, heads.count)
    if heads.scores is None or heads.q.bounds is None or heads.v.bounds is None:
        return b.rescale(f"{name}.output", b.matmul(f"{name}.product", heads.q, context))
    # the mean of (q . k_m) v_m; dividing by M rounds the context twice at most, and the divisor
    shares = heads.scores * (1 + _DIVISOR)
    queries = float(heads.q.bounds.magnitude.sum(-1).max()) * heads.q.type.qtype.step
    error = 2 * queries * context.type.qtype.step
    largest = heads.v.bounds.magnitude.amax(-2, keepdim=True) * heads.v.type.qtype.step
    known = Bounds.up_to(shares[:, None, None] * largest + error)
    output = b.rescale(f"{name}.output", b.matmul(f"{name}.product", heads.q, context, known))
    return replace(output, mix=Mix(shares, error + output.type.qtype.step))


def _lower_masked(b: Builder, name: str, heads: Heads) -> Value:
    """Return the same where a mask forbids to begin with K^T V.

    Of the division by M, the mask takes what is no power of 2.
    """
    exponent = heads.exponent
    scores = b.rescale(f"{name}.scores", scores_product(b, name, heads, 2.0**exponent / heads.count))
    product = b.matmul(f"{name}.product", scores, heads.v)
    return b.rescale(f"{name}.output", b.scale(f"{name}.mean", product, 2.0**-exponent, exponent))


LOWERING = AttentionLowering(AttentionKind.SCALING, lower_scaling)
