"""EViT: scores come from queries and keys, so that tokens are put in order while the attention goes on."""

from __future__ import annotations

from mpcvit.export.attention.softmax import softmax_weights
from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_reduction import FoldedReduction
from mpcvit.export.normalise import normalised_weights
from mpcvit.export.reduction.lowering import Read, ReductionLowering
from mpcvit.export.reduction.selection import DIVISOR, SCORE_MARGIN, FusingWeights, keep_and_fuse
from mpcvit.models.kinds import Ranking, ReductionKind


def lower_evit(b: Builder, name: str, x: Value, reduction: FoldedReduction, attention: Read | None) -> Value:
    """Return the tokens of ``x`` that are left behind the attention."""
    assert attention is not None  # noqa: S101 - this kind is behind it
    if reduction.ranking is Ranking.ATTENTION:
        return _by_attention(b, name, x, reduction, attention)
    return keep_and_fuse(b, name, x, _scores(b, name, reduction, attention), reduction)


def _scores(b: Builder, name: str, reduction: FoldedReduction, attention: Read) -> Value:
    """Return [N], by which tokens but a class token are ranked.

    Heads are not told apart: the sum of their scores is one product over all columns. It does not matter that queries
    are scaled, nor that without a class token their sum is read instead of their mean: the order stays.
    """
    own, count, keys = reduction.before.own, reduction.before.count, attention.keys
    reader = _reader(b, name, own, attention)
    keys = b.slice(f"{name}.patch_keys", keys, -2, own, count) if own else keys
    product = b.matmul(f"{name}.product", reader, b.permute(f"{name}.keys", keys, 1, 0), margin=SCORE_MARGIN)
    # sums of queries are larger than queries: so many bits less tell them apart as well
    bits = b.precision.frac if own else max(b.precision.frac - count.bit_length() + 1, 0)
    return b.reshape(f"{name}.scores", b.rescale(f"{name}.rounded", product, bits), count - own)


def _reader(b: Builder, name: str, own: int, attention: Read) -> Value:
    """Return [1, D]: the class token's queries; without one, the sum of all."""
    queries, gains = attention.queries, attention.gains
    reader = b.slice(f"{name}.reader", queries, -2, 0, 1) if own else b.sum(f"{name}.reader", queries, axis=-2)
    if bool((gains != 1).any()):
        plain = b.multiply(f"{name}.without_gains", reader, b.parameter(f"{name}.inverse_gains", 1 / gains))
        reader = b.rescale(f"{name}.plain_reader", plain)
    return reader


def _by_attention(b: Builder, name: str, x: Value, reduction: FoldedReduction, attention: Read) -> Value:
    """Return the tokens that the reader's attention keeps, and the sum of the others, weighted by it."""
    own, count, width = reduction.before.own, reduction.before.count, reduction.head_dim
    reader = _reader(b, name, own, attention)
    if not own:
        reader = b.divide(f"{name}.mean_reader", reader, count)
    heads = reader.type.shape[-1] // width
    split = b.permute(f"{name}.reader_heads", b.reshape(f"{name}.reader_split", reader, 1, heads, width), 1, 0, 2)
    keys = b.reshape(f"{name}.keys_split", attention.keys, count, heads, width)
    product = b.matmul(f"{name}.product", split, b.permute(f"{name}.keys", keys, 1, 2, 0))
    rows = softmax_weights(b, f"{name}.softmax", b.rescale(f"{name}.products", product))
    frac = b.precision.frac + count.bit_length()  # a weight is about 1 / count
    shares, largest = normalised_weights(b, f"{name}.weights", rows.weights, rows.total, rows.negative, frac)
    by_head = b.reshape(f"{name}.by_head", shares, heads, count)
    mean = b.divide(f"{name}.attention", b.sum(f"{name}.all_heads", by_head, axis=-2), heads, frac)
    patches = b.slice(f"{name}.attended", mean, -1, own, count) if own else mean
    scores = b.reshape(f"{name}.scores", patches, count - own)
    if largest is not None:  # the mean over heads rounds twice at most, and has a reciprocal of its own
        largest = largest * (1 + DIVISOR) + 2 * count * mean.type.qtype.step
    return keep_and_fuse(b, name, x, scores, reduction, FusingWeights(patches, largest))


LOWERING = ReductionLowering(ReductionKind.EVIT, lower_evit)
