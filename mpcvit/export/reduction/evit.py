"""EViT: scores come from queries and keys, so that tokens are put in order while the attention goes on."""

from __future__ import annotations

import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_reduction import FoldedReduction
from mpcvit.export.reduction.selection import keep_and_fuse, score_bounds


def lower_evit(b: Builder, name: str, x: Value, qkv: Value, gains: torch.Tensor, reduction: FoldedReduction) -> Value:
    """The tokens of ``x`` that are left behind the attention.

    Heads are not told apart: the sum of their scores is one product over all columns. It does not matter that queries
    are scaled, nor that without a class token their sum is read instead of their mean: the order stays.

    Args:
        qkv: queries, keys and values [N, 3 D].
        gains: [D], what is in the queries besides their scale.
    """
    own, (count, columns) = reduction.before.own, qkv.type.shape
    width = columns // 3
    queries = b.slice(f"{name}.queries", qkv, -1, 0, width)
    reader = b.slice(f"{name}.reader", queries, -2, 0, 1) if own else b.sum(f"{name}.reader", queries, axis=-2)
    if bool((gains != 1).any()):
        plain = b.multiply(f"{name}.without_gains", reader, b.parameter(f"{name}.inverse_gains", 1 / gains))
        reader = b.rescale(f"{name}.plain_reader", plain)
    keys = b.slice(f"{name}.key_columns", qkv, -1, width, 2 * width)
    keys = b.slice(f"{name}.patch_keys", keys, -2, own, count) if own else keys
    real = reader.real @ keys.real.mT
    product = b.matmul(f"{name}.product", reader, b.permute(f"{name}.keys", keys, 1, 0), score_bounds(real))
    # sums of queries are larger than queries: so many bits less tell them apart as well
    bits = b.precision.frac if own else max(b.precision.frac - count.bit_length() + 1, 0)
    scores = b.reshape(f"{name}.scores", b.rescale(f"{name}.rounded", product, bits), count - own)
    return keep_and_fuse(b, name, x, scores, reduction)
