"""Softmax, and attention in one op."""

from __future__ import annotations

import torch

from mpcvit.export.builder import Value
from mpcvit.export.parts import Role
from mpcvit.export.traced.call import AtenCall, AtenResult
from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.export.traced.precision import aligned, times
from mpcvit.export.traced.rows.softmax_rows import SoftmaxRows

#: More than scores may differ before the smaller one's weight is clipped to 0.
_NEGLIGIBLE = 8.0


def lower_softmax(call: AtenCall) -> AtenResult:
    """Return softmax over one axis, divided only when something else than a product with values reads it."""
    b, rank = call.b, len(call.shape)
    axis, scores = call["dim"] % rank, call.ordinary()
    if axis == rank - 1:
        return SoftmaxRows(call.name, scores)
    order = [*(place for place in range(rank) if place != axis), axis]
    rows = SoftmaxRows(f"{call.name}.rows", b.permute(f"{call.name}.last", scores, *order))
    return b.permute(call.name, rows.value(b), *sorted(range(rank), key=order.__getitem__))


def lower_attention(call: AtenCall) -> AtenResult:
    """Return softmax(scale * Q K^T + mask) V."""
    if call["is_causal"] or call["dropout_p"] or call["enable_gqa"]:
        raise call.unsupported("no causal mask, dropout or grouped queries")
    b, q, k, v = call.b, call.ordinary("query"), call.ordinary("key"), call.ordinary("value")
    rank, width = len(q.type.shape), q.type.shape[-1]
    keys = b.permute(f"{call.name}.keys", k, *range(rank - 2), rank - 1, rank - 2)
    product = b.matmul(f"{call.name}.scores_product", q, keys)
    scale = width**-0.5 if call["scale"] is None else float(call["scale"])
    scaled = times(b, f"{call.name}.scaled", product, scale)
    scores = _masked(call, b.rescale(f"{call.name}.scores", scaled))
    return SoftmaxRows(f"{call.name}.softmax", scores).mix(b, call.name, v)


def _masked(call: AtenCall, scores: Value) -> Value:
    """Return scores plus the mask, if there is one; where it is -infinity, far below all others."""
    mask = call["attn_mask"]
    if mask is None:
        return scores
    b = call.b
    if not isinstance(mask, torch.Tensor):
        return b.add(f"{call.name}.masked", *aligned(b, f"{call.name}.mask", scores, call.shortened(mask)))
    lowest = -(scores.type.qtype.hi - scores.type.qtype.lo + _NEGLIGIBLE)
    if mask.dtype is torch.bool:
        mask = torch.where(mask, 0.0, lowest).double()
    parameter = b.parameter(f"{call.name}.mask", mask.clamp(min=lowest), scores.type.frac)
    return b.add(f"{call.name}.masked", scores, parameter)


SOFTMAX = AtenLowering(("softmax", "_softmax"), lower_softmax, Role.WEIGHTS)
ATTENTION = AtenLowering(("scaled_dot_product_attention",), lower_attention, Role.HEADS)
