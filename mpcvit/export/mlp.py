"""How a folded MLP becomes ops."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mpcvit.export.activation import ACTIVATION
from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_mlp import ActivatedLayers, FoldedMlp
from mpcvit.export.normalise import Normed, normed, read, read_affine

#: Fractional bits of weights whose product is added to another one before it is rounded: tiny weights get no more.
_MERGED_WEIGHT_FRAC = 22


def lower_mlp(b: Builder, name: str, x: Value, mlp: FoldedMlp) -> Value:
    """The MLP of the stream ``x`` [N, D], norm included, at ordinary precision; N may be less than the model's tokens.

    Where only some tokens have an activation, they are brought together, and the result is put back into order: local
    work, as many slices as there are runs of consecutive tokens that are treated alike.
    """
    count = x.type.shape[-2]
    chosen = range(count) if mlp.tokens is None else [token for token in mlp.tokens if token < count]
    others = sorted(set(range(count)).difference(chosen))
    order = [*chosen, *others]
    stream = normed(b, f"{name}.norm_fc1", _rows(b, f"{name}.grouped", x, order), mlp.norm)
    parts = []
    if mlp.activated is not None and chosen:
        rows = _part(b, f"{name}.activated", stream, 0, len(chosen))
        parts.append(_activated(b, name, rows, mlp.activated))
    if mlp.fused is not None and others:
        rows = _part(b, f"{name}.linear", stream, len(chosen), count)
        parts.append(b.rescale(f"{name}.fused", read_affine(b, f"{name}.norm_fused", rows, mlp.fused)))
    back = sorted(range(count), key=order.__getitem__)
    return _rows(b, f"{name}.ungrouped", b.concat(f"{name}.parts", parts, axis=-2), back)


def _activated(b: Builder, name: str, stream: Normed, layers: ActivatedLayers) -> Value:
    """fc2(act(fc1 x)) + x @ skip. The two products are added before they are rounded: one opening for both."""
    hidden = b.rescale(f"{name}.fc1", read_affine(b, f"{name}.norm_fc1", stream, layers.fc1))
    hidden = ACTIVATION[layers.activation](b, f"{name}.act", hidden)
    if layers.skip is None:
        return b.affine(f"{name}.fc2", hidden, layers.fc2.weight, layers.fc2.bias, layers.fc2.first)
    skip = read(b, f"{name}.skip", stream, layers.skip)
    frac = min(b.weight_frac(layers.fc2.weight), _MERGED_WEIGHT_FRAC)
    product = b.linear(f"{name}.fc2.matmul", hidden, layers.fc2.weight, frac, first=layers.fc2.first)
    most = max(skip.type.frac, product.type.frac)
    total = b.add(
        f"{name}.fc2.merged",
        b.widen_frac(f"{name}.fc2.aligned", product, most),
        b.widen_frac(f"{name}.skip.aligned", skip, most),
    )
    total = b.add(f"{name}.fc2.sum", total, b.parameter(f"{name}.fc2.bias", layers.fc2.bias, most))
    return b.rescale(f"{name}.fc2", total)


def _part(b: Builder, name: str, stream: Normed, start: int, stop: int) -> Normed:
    """Tokens ``start`` to ``stop`` (exclusive)."""
    factor = None if stream.factor is None else _slice(b, f"{name}.factor", stream.factor, start, stop)
    return Normed(_slice(b, name, stream.x, start, stop), factor)


def _rows(b: Builder, name: str, x: Value, order: Sequence[int]) -> Value:
    """Tokens of x in another order; x itself in its own."""
    # within a run of consecutive tokens, token and place differ by the same number
    runs = [list(run) for _, run in groupby(enumerate(order), lambda item: item[1] - item[0])]
    slices = [_slice(b, f"{name}.from{run[0][0]}", x, run[0][1], run[-1][1] + 1) for run in runs]
    return b.concat(name, slices, axis=-2)


def _slice(b: Builder, name: str, x: Value, start: int, stop: int) -> Value:
    """Rows ``start`` to ``stop`` (exclusive); x itself if these are all."""
    return x if (start, stop) == (0, x.type.shape[-2]) else b.slice(name, x, -2, start, stop)
