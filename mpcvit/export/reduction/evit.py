"""EViT: scores come from queries and keys, so that tokens are put in order while the attention goes on."""

from __future__ import annotations

from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_reduction import FoldedReduction
from mpcvit.export.reduction.lowering import Read, ReductionLowering
from mpcvit.export.reduction.selection import SCORE_MARGIN, keep_and_fuse
from mpcvit.models.kinds import ReductionKind


def lower_evit(b: Builder, name: str, x: Value, reduction: FoldedReduction, attention: Read | None) -> Value:
    """Return the tokens of ``x`` that are left behind the attention.

    Heads are not told apart: the sum of their scores is one product over all columns. It does not matter that queries
    are scaled, nor that without a class token their sum is read instead of their mean: the order stays.
    """
    assert attention is not None  # noqa: S101 - this kind is behind it
    queries, keys, gains = attention.queries, attention.keys, attention.gains
    own, count = reduction.before.own, queries.type.shape[-2]
    reader = b.slice(f"{name}.reader", queries, -2, 0, 1) if own else b.sum(f"{name}.reader", queries, axis=-2)
    if bool((gains != 1).any()):
        plain = b.multiply(f"{name}.without_gains", reader, b.parameter(f"{name}.inverse_gains", 1 / gains))
        reader = b.rescale(f"{name}.plain_reader", plain)
    keys = b.slice(f"{name}.patch_keys", keys, -2, own, count) if own else keys
    product = b.matmul(f"{name}.product", reader, b.permute(f"{name}.keys", keys, 1, 0), margin=SCORE_MARGIN)
    # sums of queries are larger than queries: so many bits less tell them apart as well
    bits = b.precision.frac if own else max(b.precision.frac - count.bit_length() + 1, 0)
    scores = b.reshape(f"{name}.scores", b.rescale(f"{name}.rounded", product, bits), count - own)
    return keep_and_fuse(b, name, x, scores, reduction)


LOWERING = ReductionLowering(ReductionKind.EVIT, lower_evit)
