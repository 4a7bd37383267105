"""How blocks' own transformations become ops: gains, convolutions over patches, mixtures of heads."""

from __future__ import annotations

from dataclasses import replace

import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_transformations import FoldedConvolution, FoldedMixing, OwnInput
from mpcvit.export.normalise import Normed


def with_gain(b: Builder, name: str, stream: Normed, own: OwnInput) -> Normed:
    """Return what a norm gives times the block's gain; its factor per row is still not applied."""
    gain = b.parameter(f"{name}.gain", own.gain)
    largest = float(b.encoded(own.gain).abs().max())
    x = b.rescale(f"{name}.with_gain", b.multiply(f"{name}.gained", stream.x, gain), stream.x.type.frac)
    if stream.gain is None:
        return Normed(x, stream.factor)
    x = replace(x, radius=stream.x.largest_row * largest + b.rounding(x))
    return Normed(x, stream.factor, stream.gain * largest + stream.largest_factor * b.rounding(x))


def convolved(b: Builder, name: str, stream: Normed, own: OwnInput, convolution: FoldedConvolution) -> Normed:
    """Return what a norm gives with gain, bias and the neighbours' part; nothing is left to do for the factor.

    Where there are no more tokens than those that no convolution reads, there is none.
    """
    x, longest = _applied(b, name, stream)
    tokens, first = x.type.shape[-2], convolution.own
    parts, bound = [], 0.0
    if first:
        rows = x if tokens == first else b.slice(f"{name}.own", x, -2, 0, first)
        gained = b.multiply(f"{name}.own_gained", rows, b.parameter(f"{name}.gain", own.gain))
        parts.append(_plus(b, f"{name}.own_gain", gained, own.bias))
        bound = longest * float(b.encoded(own.gain).abs().max()) + float(own.bias.norm())
    if tokens > first:
        patches = b.slice(f"{name}.patches", x, -2, first, tokens) if first else x
        parts.append(_plus(b, f"{name}.convolved", _products(b, name, patches, convolution.taps), convolution.offsets))
        lengths = float(b.encoded(convolution.taps).abs().amax(1).sum())
        bound = max(bound, longest * lengths + float(convolution.offsets.norm(dim=-1).max()))
    total = b.concat(f"{name}.transformed", parts, axis=-2)
    if stream.gain is None:
        return Normed(total, None)
    return Normed(total, None, bound + 2 * b.rounding(total))


def _applied(b: Builder, name: str, stream: Normed) -> tuple[Value, float]:
    """Return the norm's result with its factor, and a bound on its rows, which says nothing if nothing is proven."""
    if stream.factor is None:
        return stream.x, 0.0 if stream.gain is None else stream.gain
    known = None if stream.gain is None else (-stream.gain, stream.gain)
    x = b.rescale(f"{name}.applied", b.multiply(f"{name}.factored", stream.x, stream.factor, known))
    return x, 0.0 if stream.gain is None else stream.gain + b.rounding(x)


def _products(b: Builder, name: str, patches: Value, taps: torch.Tensor) -> Value:
    """Return the sums [patches, D] over windows of a grid, each channel with its filter [taps, D], not rescaled."""
    count, width = patches.type.shape
    grid, side = round(count**0.5), round(len(taps) ** 0.5)
    windows = b.unfold(f"{name}.windows", b.reshape(f"{name}.grid", patches, grid, grid, width), side, 1, side // 2)
    windows = b.reshape(f"{name}.taps", windows, count, side**2, width)
    by_channel = b.permute(f"{name}.by_channel", windows, 2, 0, 1)
    product = b.linear(f"{name}.filtered", by_channel, taps.T[:, :, None])
    return b.reshape(f"{name}.sums", b.permute(f"{name}.by_patch", product, 1, 0, 2), count, width)


def _plus(b: Builder, name: str, wide: Value, offset: torch.Tensor) -> Value:
    """Return wide + offset, rescaled."""
    total = b.add(f"{name}.sum", wide, b.parameter(f"{name}.offset", offset, wide.type.frac))
    return b.rescale(name, total)


def widened(
    b: Builder, name: str, q: Value, k: Value, v: Value, mixing: FoldedMixing, scores: torch.Tensor | None
) -> tuple[Value, Value, Value, torch.Tensor | None]:
    """Return queries [H, N, H * D], keys [1, H * D, M] and values [H, M, H * D] whose heads are the mixed ones.

    Args:
        q, k, v: [H, N or M, D].
        scores: [H], bounds on the scores of the heads before they are mixed.

    Returns:
        the three, and bounds on the scores of the mixed heads, where there were any.
    """
    heads, rows, width = q.type.shape
    count = k.type.shape[-2]
    keys = b.reshape(f"{name}.wide_keys", b.permute(f"{name}.key_columns", k, 0, 2, 1), 1, heads * width, count)
    queries = b.reshape(f"{name}.each_query", b.permute(f"{name}.query_rows", q, 1, 0, 2), 1, rows, heads, width)
    queries = b.multiply(f"{name}.before", queries, b.parameter(f"{name}.mix_scores", mixing.before[:, None, :, None]))
    queries = b.rescale(f"{name}.mixed_queries", queries, q.type.frac)
    values = b.reshape(f"{name}.each_value", b.permute(f"{name}.value_rows", v, 1, 0, 2), 1, count, heads, width)
    values = b.multiply(f"{name}.after", values, b.parameter(f"{name}.mix_weights", mixing.after.T[:, None, :, None]))
    values = b.rescale(f"{name}.mixed_values", values)
    known = None
    if scores is not None and k.bounds is not None:
        magnitudes = k.bounds.magnitude.sum((0, 2)).max() * k.type.qtype.step  # of a key, all heads
        known = b.encoded(mixing.before).abs() @ scores.double() + queries.type.qtype.step * magnitudes
    return (
        b.reshape(f"{name}.wide_queries", queries, heads, rows, heads * width),
        keys,
        b.reshape(f"{name}.wide_values", values, heads, count, heads * width),
        known,
    )


def joined_heads(b: Builder, name: str, output: Value) -> Value:
    """Return all heads [N, H * D] from what the wide ones gave [H, N, H * D]."""
    _, rows, width = output.type.shape
    return b.reshape(f"{name}.joined", b.sum(f"{name}.all", output, axis=-3), rows, width)
