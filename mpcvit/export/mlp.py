"""How a folded MLP becomes ops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch

from mpcvit.export.activation import ACTIVATION
from mpcvit.export.activation.gelu import lower_gelu, unit_of
from mpcvit.export.affine import Affine
from mpcvit.export.bounds.coarse import coarse
from mpcvit.export.bounds.mlp import activated, linear, written
from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_mlp import ActivatedLayers, FoldedMlp
from mpcvit.export.normalise import EXTRA_FRAC, Normed, columns_of, normed, read, read_affine, read_columns
from mpcvit.export.parts import Role
from mpcvit.export.transformations import convolved, with_gain
from mpcvit.models.kinds import Activation

#: Fractional bits of weights whose product is added to another one before it is rounded: tiny weights get no more.
_MERGED_WEIGHT_FRAC = 22
#: The largest slope of an activation with |act(h)| <= |h| (GELU's).
_STEEPEST = 1.13
#: Between a bias and its code, as long as the fractional bits of a product make no more of it.
_CODES = 2.0**-16
#: Room for weights that are rounded to other codes in another unit.
_READ_SLACK = 2.0**-4


def lower_mlp(b: Builder, name: str, x: Value, mlp: FoldedMlp) -> Value:
    """Return the MLP of the stream ``x`` [N, D], norm included, not rescaled; N may be less than the model's tokens.

    Where only some tokens have an activation, they are brought together, and the result is put back into order: local
    work, as many slices as there are runs of consecutive tokens that are treated alike.
    """
    count = x.type.shape[-2]
    chosen = range(count) if mlp.tokens is None else [token for token in mlp.tokens if token < count]
    others = sorted(set(range(count)).difference(chosen))
    order = [*chosen, *others]
    stream = _read_stream(b, name, x, mlp, order)
    parts = []
    if mlp.activated is not None and chosen:
        rows = _part(b, f"{name}.activated", stream, 0, len(chosen))
        parts.append(_activated(b, name, rows, mlp.activated))
    if mlp.fused is not None and others:
        rows = _part(b, f"{name}.linear", stream, len(chosen), count)
        fused = _fused(b, name, rows, mlp.fused)
        parts.append(_rectified(b, f"{name}.post_relu", fused) if mlp.relu else fused)
    most = max(part.type.frac for part in parts)
    parts = [b.widen_frac(f"{name}.aligned{number}", part, most) for number, part in enumerate(parts)]
    back = sorted(range(count), key=order.__getitem__)
    return _rows(b, f"{name}.ungrouped", b.concat(f"{name}.parts", parts, axis=-2), back)


def _read_stream(b: Builder, name: str, x: Value, mlp: FoldedMlp, order: Sequence[int]) -> Normed:
    """Return what the layers read, the tokens in ``order``."""
    if mlp.own is not None and mlp.own.convolution is not None:  # which needs the tokens in their own order
        stream = normed(b, f"{name}.norm_fc1", x, mlp.norm)
        stream = convolved(b, f"{name}.own", stream, mlp.own, mlp.own.convolution)
        return replace(stream, x=_rows(b, f"{name}.grouped", stream.x, order))
    stream = normed(b, f"{name}.norm_fc1", _rows(b, f"{name}.grouped", x, order), mlp.norm)
    return stream if mlp.own is None else with_gain(b, f"{name}.own", stream, mlp.own)


def _fused(b: Builder, name: str, stream: Normed, layer: Affine) -> Value:
    """Return one layer for both, not rescaled."""
    wide = read_affine(b, f"{name}.norm_fused", stream, layer)
    radius = _linear_radius(b, stream, read_columns(b, layer.weight, layer.first))
    return _within(wide, radius, layer.bias)


def _rectified(b: Builder, name: str, wide: Value) -> Value:
    """Return max(x, 0) without the mean over channels, which the residual stream must not have."""
    x = b.rescale(f"{name}.read", wide)
    with b.scope(Role.ACTIVATION):
        positive = b.relu(f"{name}.relu", x)
    value = b.subtract(name, positive, b.mean(f"{name}.mean", positive, axis=-1))
    # neither makes a row longer, but for the mean's rounding
    return value if x.radius is None else replace(value, radius=x.radius + 2 * b.rounding(value))


def _activated(b: Builder, name: str, stream: Normed, layers: ActivatedLayers) -> Value:
    """Return fc2(act(fc1 x)) + x @ skip, not rescaled. The two products are added before that: one opening for both."""
    if layers.activation is Activation.GELU:
        read_hidden, hidden = gelu_layer(b, name, stream, layers.fc1)
    else:
        read_hidden = b.rescale(f"{name}.fc1", read_affine(b, f"{name}.norm_fc1", stream, layers.fc1))
        with b.scope(Role.ACTIVATION):
            hidden = ACTIVATION[layers.activation].lower(b, f"{name}.act", read_hidden)
    radius = _activated_radius(b, stream, read_hidden, hidden, layers)
    if layers.skip is None:
        product = b.linear(f"{name}.fc2.matmul", hidden, layers.fc2.weight, first=layers.fc2.first)
    else:
        skip = read(b, f"{name}.skip", stream, layers.skip)
        radius = None if radius is None else radius + (_linear_radius(b, stream, read_columns(b, layers.skip)) or 0.0)
        frac = min(b.weight_frac(layers.fc2.weight), _MERGED_WEIGHT_FRAC)
        product = b.linear(f"{name}.fc2.matmul", hidden, layers.fc2.weight, frac, first=layers.fc2.first)
        most = max(skip.type.frac, product.type.frac)
        product = b.add(
            f"{name}.fc2.merged",
            b.widen_frac(f"{name}.fc2.aligned", product, most),
            b.widen_frac(f"{name}.skip.aligned", skip, most),
        )
    total = b.add(f"{name}.fc2.sum", product, b.parameter(f"{name}.fc2.bias", layers.fc2.bias, product.type.frac))
    return _within(total, radius, layers.fc2.bias)


def gelu_layer(b: Builder, name: str, stream: Normed, layer: Affine) -> tuple[Value, Value]:
    """Return what GELU reads, in a unit that fills its grid where the range is proven, and what it gives."""
    if stream.gain is None:
        read_hidden = b.rescale(f"{name}.fc1", read_affine(b, f"{name}.norm_fc1", stream, layer))
        with b.scope(Role.ACTIVATION):
            return read_hidden, lower_gelu(b, f"{name}.act", read_hidden)
    lengths = stream.gain * read_columns(b, layer.weight, layer.first).norm(dim=0) + _read_rounding(b, stream)
    lo, hi = coarse(float((layer.bias - lengths).min()), float((layer.bias + lengths).max()))
    unit = b.unit(f"{name}.fc1", unit_of(lo, hi))
    stretched = layer.scaled(torch.full_like(layer.bias, unit))
    b.part_scaled(stretched.weight, layer.weight, unit)
    wide = read_affine(b, f"{name}.norm_fc1", stream, stretched)
    read_hidden = b.rescale(f"{name}.fc1", wide, public=(lo * unit, hi * unit))
    with b.scope(Role.ACTIVATION):
        return read_hidden, lower_gelu(b, f"{name}.act", read_hidden, unit)


def _read_rounding(b: Builder, stream: Normed) -> float:
    """Return more than what rounding adds to an element that is read behind a norm."""
    unscaled: float = 2.0 ** -(b.precision.frac + EXTRA_FRAC)
    return stream.largest_factor * unscaled + 2.0**-b.precision.frac + _READ_SLACK


def _within(x: Value, radius: float | None, bias: torch.Tensor) -> Value:
    """Return x with rows of at most ``radius`` and a bias."""
    if radius is None:
        return x
    codes = max(_CODES, math.sqrt(bias.shape[-1]) * x.type.qtype.step / 2)
    return replace(x, radius=radius + float(bias.norm()) + codes)


def _linear_radius(b: Builder, stream: Normed, matrix: torch.Tensor) -> float | None:
    """Return a bound on the length of what a linear layer makes of a normed row, as computed."""
    if stream.gain is None:
        return None
    step: float = 2.0 ** -(b.precision.frac + EXTRA_FRAC)
    return linear(matrix, stream.gain) + stream.largest_factor * step * math.sqrt(matrix.shape[-1])


def _activated_radius(
    b: Builder, stream: Normed, read_hidden: Value, hidden: Value, layers: ActivatedLayers
) -> float | None:
    """Return a bound on the length of fc2(act(fc1 x)), without fc2's bias, as computed."""
    if stream.gain is None or hidden.bounds is None:
        return None
    second = columns_of(b, layers.fc2.weight, layers.fc2.first)
    narrow = 0.0  # what a factor of fc2 rounds
    if layers.fc2.first is not None:
        narrow = 2.0**-b.precision.frac * float(b.encoded(layers.fc2.weight).abs().sum(0).norm())
    largest = written(hidden.bounds.magnitude.reshape(-1, second.shape[0]).amax(0) * hidden.type.qtype.step, second)
    if not layers.activation.facts.contracting:
        return largest + narrow
    first = read_columns(b, layers.fc1.weight, layers.fc1.first)
    ball = activated(first, layers.fc1.bias, second, stream.gain)
    # what is rounded before the activation, which may make it a little larger, and in it
    before = stream.largest_factor * 2.0 ** -(b.precision.frac + EXTRA_FRAC) + read_hidden.type.qtype.step + _CODES
    allowed = max(b.precision.activation_tolerance, b.precision.relu_slack)
    inside = _STEEPEST * before + b.slack(hidden.name, allowed) + hidden.type.qtype.step
    return min(largest, ball + inside * float(second.abs().sum(0).norm())) + narrow


def _part(b: Builder, name: str, stream: Normed, start: int, stop: int) -> Normed:
    """Return the tokens ``start`` to ``stop`` (exclusive)."""
    factor = None if stream.factor is None else _slice(b, f"{name}.factor", stream.factor, start, stop)
    return Normed(_slice(b, name, stream.x, start, stop), factor, stream.gain)


def _rows(b: Builder, name: str, x: Value, order: Sequence[int]) -> Value:
    """Return the tokens of x in another order; x itself in its own."""
    # within a run of consecutive tokens, token and place differ by the same number
    runs = [list(run) for _, run in groupby(enumerate(order), lambda item: item[1] - item[0])]
    slices = [_slice(b, f"{name}.from{run[0][0]}", x, run[0][1], run[-1][1] + 1) for run in runs]
    return b.concat(name, slices, axis=-2)


def _slice(b: Builder, name: str, x: Value, start: int, stop: int) -> Value:
    """Return the rows ``start`` to ``stop`` (exclusive); x itself if these are all."""
    return x if (start, stop) == (0, x.type.shape[-2]) else b.slice(name, x, -2, start, stop)
