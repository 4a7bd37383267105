"""Export of a whole ViT: fold, lower block by block on calibration data, check the result."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from mpcvit.export.affine import Affine
from mpcvit.export.answer import check_reveal
from mpcvit.export.attention import ATTENTION, Heads
from mpcvit.export.bounds.attention.projection import AttentionLayer, MixedHead, projection, taps_of
from mpcvit.export.bounds.attention.scores import scores
from mpcvit.export.bounds.embedding import embedding
from mpcvit.export.builder import Builder, Precision, Value
from mpcvit.export.exported import INPUT, Exported, begin, finish
from mpcvit.export.factors import Factors
from mpcvit.export.fold import fold
from mpcvit.export.fold_prompts import FoldedPrompts
from mpcvit.export.folded import FoldedBlock, FoldedViT
from mpcvit.export.mlp import lower_mlp
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.normalise import EXTRA_FRAC, Normed, columns_of, normalised_affine, normed, read_affine, read_columns
from mpcvit.export.parts import Role
from mpcvit.export.prompts import lower_prompts
from mpcvit.export.reduction import REDUCTION, Read
from mpcvit.export.transformations import joined_heads, widened, with_gain
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.vit import VisionTransformer
from mpcvit.wire.reveal import LOGITS, Disclosure

#: Between a bias and its code, as long as the fractional bits of a product make no more of it.
_CODES = 2.0**-16

#: Fractional bits that queries and keys have beyond the ordinary number.
_SCORED = 1

#: Bits by which the stream is shortened at a time: that opens sums that are larger than branches.
_WORTHWHILE = 2
#: Fractional bits that the stream keeps however long its rows may be.
_LEAST = 8

__all__ = ["INPUT", "Exported", "export_vit"]


@torch.no_grad()
def export_vit(
    model: VisionTransformer,
    images: torch.Tensor,
    precision: Precision | None = None,
    reveal: Disclosure = LOGITS,
    factors: Factors = Factors.MERGED,
    normalisation: Normalisation = NOISE,
) -> Exported:
    """Return the Program of ``model``, its types calibrated on ``images``.

    Args:
        model: in eval mode or not; only its weights are read.
        images: normalised float [count, channels, size, size]; a few hundred training pictures.
        reveal: what the client gets; by default logits.
        factors: what becomes of linear layers of low rank; see :class:`~mpcvit.export.factors.Factors`.
        normalisation: of ``images``; the Program does it, as it reads pixels.

    Raises:
        InputError: ``images`` has another shape than the model's input or is not of 8-bit pixels, or ``reveal`` asks
            for more labels than there are.
        ProgramError: the lowering does not compute what the model computes (a bug).
        RangeError: values do not fit fixed point.
    """
    config = model.config
    check_reveal(reveal, config.classes)
    b, image = begin(images, config.input_shape, normalisation, precision)
    return lower_vit(b, image, fold(model, factors), model, normalisation, reveal)


def lower_vit(
    b: Builder,
    image: Value,
    folded: FoldedViT,
    model: VisionTransformer,
    normalisation: Normalisation,
    reveal: Disclosure,
) -> Exported:
    """Return the Program of ``folded``, which computes what ``model`` computes, from the pixels of ``image``.

    Raises:
        ProgramError, RangeError: of :func:`export_vit`.
    """
    config = folded.config
    # behind the last attention only the class token is read
    stream = lower_blocks(b, image, folded, normalisation, 1 if config.class_token else config.tokens)
    with b.scope(Role.HEAD):
        logits = _head(b, stream, folded)
        return finish(b, model, normalisation, image, logits, reveal)


def lower_blocks(
    b: Builder, image: Value, folded: FoldedViT, normalisation: Normalisation, rows: int
) -> ResidualStream:
    """Return the residual stream behind the last block, from the pixels of ``image``.

    Args:
        rows: how many of the last block's tokens are read, the first ones; all, if there are no more.
    """
    config = folded.config
    patches = _patches(b, image, config)
    fixed = len(folded.embed.bias) - config.patches
    if fixed:  # a class token, registers
        patches = b.pad("patches.with_class", patches, -2, fixed)
    embed = _embedding_of_pixels(folded.embed, normalisation, config)
    radius = None if patches.bounds is None else _embedding_radius(b, patches, embed)
    wide = b.wide_affine("embed", patches, embed.weight, embed.bias, radius=radius)
    tokens = b.rescale("embed", wide, _stream_frac(b, radius))
    if folded.prompts is not None:
        tokens = _with_prompts(b, tokens, fixed, folded.prompts)
    stream = ResidualStream(tokens, None)
    for number, block in enumerate(folded.blocks):
        own = block.tokens.attention.count
        if number == config.depth - 1:
            own = min(own, rows)
        with b.scope(Role.ATTENTION, block=number):
            if folded.denoiser is not None and number == config.depth - 1:
                stream = _placed(b, stream, folded.denoiser)
            x = _entry(b, number, stream, block)
            stream = _block(b, f"block{number}", x, block, config, own)
    return stream


def _head(b: Builder, stream: ResidualStream, folded: FoldedViT) -> Value:
    """Return the logits [classes] of the stream behind the last block."""
    config, divisor = folded.config, 1.0
    if config.class_token:
        x = joined(b, "head.stream", stream)
    else:
        # a power of two of the division of the sum is free, the rest goes into the norm's factor
        own, count = config.output_tokens.own, config.output_tokens.count - config.output_tokens.own
        exponent = count.bit_length() - 1
        divisor = count / 2.0**exponent
        x = _pooled(b, _without_own(b, stream, own) if own else stream)
        x = b.scale("pooled.mean", x, 2.0**-exponent, exponent) if exponent else x
    wide = normalised_affine(b, "head", x, folded.head.weight, folded.head.bias, folded.norm, divisor)
    # rescaled although it costs a round: the unrounded product would tell the client the norm's factor
    return b.reshape("logits", b.rescale("head", wide), config.classes)


def _with_prompts(b: Builder, tokens: Value, fixed: int, prompts: FoldedPrompts) -> Value:
    """Return the tokens with prompts before the patches, of which the first ``fixed`` are none."""
    count = tokens.type.shape[-2]
    patches = b.slice("prompts.patches", tokens, -2, fixed, count) if fixed else tokens
    made = lower_prompts(b, "prompts", patches, prompts)
    before = [b.slice("prompts.before", tokens, -2, 0, fixed)] if fixed else []
    return b.concat("embed.with_prompts", [*before, made, patches], axis=-2)


def _placed(b: Builder, stream: ResidualStream, offsets: torch.Tensor) -> ResidualStream:
    """Return the stream with ``offsets`` [N, D] added."""
    x = stream.x
    parameter = b.parameter("denoiser.positions", offsets, x.type.frac)
    if x.radius is not None:
        parameter = replace(parameter, radius=parameter.largest_row)
    return ResidualStream(b.add("denoiser.entry", x, parameter), stream.written)


def _without_own(b: Builder, stream: ResidualStream, own: int) -> ResidualStream:
    """Return the stream without its first ``own`` tokens."""
    count = stream.x.type.shape[-2]
    written = stream.written and b.slice("pooled.patches.written", stream.written, -2, own, count)
    return ResidualStream(b.slice("pooled.patches", stream.x, -2, own, count), written)


def _embedding_of_pixels(embed: Affine, normalisation: Normalisation, config: ViTConfig) -> Affine:
    """Return ``embed``, a bias per token, with the normalisation of the pixels before it."""
    per_channel = config.patch_values // config.channels
    gain, offset = (
        part.expand(config.channels).repeat_interleave(per_channel)
        for part in (normalisation.gain, normalisation.offset)
    )
    bias = embed.bias.clone()
    bias[-config.patches :] += offset @ embed.weight  # a class token has no pixels
    return Affine(gain[:, None] * embed.weight, bias)


def _patches(b: Builder, image: Value, config: ViTConfig) -> Value:
    """Return patches [patches, C * P * P], the order of ``mpcvit.models.vit.patchify``."""
    side, patch = config.image_size // config.patch_size, config.patch_size
    grid = b.reshape("patches.grid", image, config.channels, side, patch, side, patch)
    grid = b.permute("patches.order", grid, 1, 3, 0, 2, 4)
    return b.reshape("patches", grid, config.patches, config.patch_values)


def _embedding_radius(b: Builder, patches: Value, layer: Affine) -> float:
    """Return a bound on the length of every token of the embedding, not rounded."""
    weight = b.encoded(layer.weight)
    bias = b.encoded(layer.bias, patches.type.frac + b.weight_frac(layer.weight))
    return embedding(patches.assumed.times(patches.type.qtype.step), weight, bias)


@dataclass(frozen=True)
class ResidualStream:
    """The residual stream behind a block.

    Attributes:
        x: what entered the block's MLP.
        written: what the MLP adds, not rounded: what pools the stream pools both first, which makes fewer numbers to
            open. None before the first block.
    """

    x: Value
    written: Value | None


def _entry(b: Builder, number: int, stream: ResidualStream, block: FoldedBlock) -> Value:
    """Return the tokens that enter block ``number``."""
    reduction, name = block.reduction, f"block{number}.reduce"
    if reduction is None or reduction.kind.facts.behind_attention:
        return _joined_before(b, number, stream)
    lower = REDUCTION[reduction.kind].lower
    if reduction.kind.facts.selects:
        return lower(b, name, _joined_before(b, number, stream), reduction, None)
    written = stream.written and lower(b, f"{name}.written", stream.written, reduction, None)
    return _joined_before(b, number, ResidualStream(lower(b, name, stream.x, reduction, None), written))


def _joined_before(b: Builder, number: int, stream: ResidualStream) -> Value:
    """Return the stream that enters block ``number`` as one value; what joins it belongs to the MLP before."""
    with b.scope(Role.MLP, block=number - 1):  # the first block's stream is joined already
        return joined(b, f"block{number}.entry", stream)


def joined(b: Builder, name: str, stream: ResidualStream) -> Value:
    """Return the stream as one value."""
    return stream.x if stream.written is None else _residual(b, name, stream.x, stream.written)


def _pooled(b: Builder, stream: ResidualStream) -> Value:
    """Return the sum [1, D] of all tokens, with so many bits that their mean keeps the stream's precision."""
    count = stream.x.type.shape[-2]
    frac = max(stream.x.type.frac - (count.bit_length() - 1), 0)
    sums = [
        b.rescale(f"pooled.{part}", b.sum(f"pooled.{part}.sum", value, axis=-2), frac)
        for part, value in (("stream", stream.x), ("written", stream.written))
        if value is not None
    ]
    return sums[0] if len(sums) == 1 else b.add("pooled", sums[0], sums[1])


def _block(b: Builder, name: str, x: Value, block: FoldedBlock, config: ViTConfig, rows: int) -> ResidualStream:
    """Return the residual stream behind a block; ``rows`` are the tokens whose attention is read, the first ones."""
    reduction = block.reduction
    normalised = normed(b, f"{name}.attn.norm_qkv", x, block.norm)
    if block.own is not None:
        normalised = with_gain(b, f"{name}.attn.own", normalised, block.own)
    qkv = _qkv(b, f"{name}.attn", read_affine(b, f"{name}.attn.norm_qkv", normalised, block.qkv))
    layer = _layer(b, normalised, block.qkv)
    attention = _attention(b, f"{name}.attn", qkv, block, config, rows, layer)
    x = _residual(b, f"{name}.residual", _first_rows(b, f"{name}.rows", x, rows), attention)
    # a single row is the class token, which stays
    if reduction is not None and reduction.kind.facts.behind_attention and rows > 1:
        read = Read(*qkv[:2], block.query_gains)
        x = REDUCTION[reduction.kind].lower(b, f"{name}.reduce", x, reduction, read)
    with b.scope(Role.MLP):
        return ResidualStream(x, lower_mlp(b, name, x, block.mlp))


def _residual(b: Builder, name: str, x: Value, wide: Value) -> Value:
    """Return x + wide, a branch that is not rescaled; with fewer fractional bits than x where the sum may be larger."""
    frac = _stream_frac(b, None if x.bounds is None or wide.bounds is None else x.largest_row + wide.largest_row)
    if frac > x.type.frac - _WORTHWHILE:
        return b.add(name, x, b.rescale(f"{name}.branch", wide, x.type.frac))
    total = b.add(f"{name}.sum", b.widen_frac(f"{name}.aligned", x, wide.type.frac), wide)
    return b.rescale(name, total, frac)


def _stream_frac(b: Builder, radius: float | None) -> int:
    """Return the fractional bits of a residual stream whose rows are at most so long."""
    if radius is None:
        return b.precision.frac
    room: int = b.precision.stream_bits - math.ceil(math.log2(radius))
    return min(b.precision.frac, max(room, _LEAST))


def _qkv(b: Builder, name: str, wide: Value) -> tuple[Value, Value, Value]:
    """Return queries, keys and values [N, D].

    Queries and keys get more bits: what is rounded in them adds up in scores, and where few scores of a row are
    positive, ReLU-softmax makes much of a little.
    """
    width, frac = wide.type.shape[-1] // 3, b.precision.frac
    starts = {"queries": (0, frac + _SCORED), "keys": (width, frac + _SCORED), "values": (2 * width, frac)}
    q, k, v = (
        b.rescale(f"{name}.{part}", b.slice(f"{name}.{part}.wide", wide, -1, start, start + width), bits)
        for part, (start, bits) in starts.items()
    )
    return q, k, v


def _layer(b: Builder, stream: Normed, layer: Affine) -> AttentionLayer | None:
    """Return what is known of queries, keys and values behind a norm; None where nothing is proven."""
    if stream.gain is None:
        return None
    narrow = 0.0 if layer.first is None else float(b.encoded(layer.weight).abs().sum(0).max())
    step = 2.0 ** -(b.precision.frac + EXTRA_FRAC)
    rounding = stream.largest_factor * step * (1 + narrow) + 2.0**-b.precision.frac
    query, key, value = read_columns(b, layer.weight, layer.first).chunk(3, dim=1)
    query_bias, key_bias, value_bias = layer.bias.chunk(3)
    return AttentionLayer(query, key, value, query_bias, key_bias, value_bias, stream.gain, rounding)


def _attention(
    b: Builder,
    name: str,
    qkv: tuple[Value, Value, Value],
    block: FoldedBlock,
    config: ViTConfig,
    rows: int,
    layer: AttentionLayer | None,
) -> Value:
    largest = None if layer is None else scores(layer, config.head_dim)
    outputs, mixed, head = [], [], 0
    for group in block.groups:
        kind, count, start = group.kind, group.count, head * config.head_dim
        known = None if largest is None else largest[head : head + count]
        with b.scope(Role.HEADS, kind=kind):
            q, k, v = (
                _heads(b, f"{name}.{kind}.{part}", value, start, count, config)
                for part, value in zip("qkv", qkv, strict=True)
            )
            q = _first_rows(b, f"{name}.{kind}.q_rows", q, rows)
            if block.mixing is None:
                keys = b.permute(f"{name}.{kind}.keys", k, 0, 2, 1)
            else:
                q, keys, v, known = widened(b, f"{name}.{kind}", q, k, v, block.mixing, known)
            mask = None if group.mask is None else group.mask[:, :rows]
            output = ATTENTION[kind].lower(b, f"{name}.{kind}", Heads(q, keys, v, group.kernel, mask, known))
            if block.mixing is None:
                mixed += _mixed_heads(output, kind, head, config.head_dim)
                output = b.permute(f"{name}.{kind}.by_token", output, 1, 0, 2)
                outputs.append(b.reshape(f"{name}.{kind}.joined", output, rows, count * config.head_dim))
            else:
                outputs.append(joined_heads(b, f"{name}.{kind}", output))
                mixed += _all_heads(outputs[-1], kind)
        head += count
    joined = b.concat(f"{name}.heads", outputs, axis=-1)
    if block.lepe is not None:
        local = _lepe(b, f"{name}.lepe", qkv[2], block.lepe[:, :rows])
        joined = b.add(f"{name}.with_lepe", joined, local)
    radius = None if layer is None or joined.bounds is None else _written_radius(b, layer, mixed, block, rows)
    proj = block.proj
    return b.wide_affine(f"{name}.proj", joined, proj.weight, proj.bias, proj.first, radius=radius)


def _mixed_heads(output: Value, kind: AttentionKind, first: int, width: int) -> list[MixedHead]:
    """Return what is known of the outputs [H, N, D] of heads from number ``first`` on; nothing without a proof."""
    if output.bounds is None:
        return []
    largest = output.bounds.magnitude.amax(-2) * output.type.qtype.step
    mix = output.mix
    return [
        MixedHead(
            kind,
            slice((first + number) * width, (first + number + 1) * width),
            None if mix is None else float(mix.shares[number]),
            0.0 if mix is None else mix.error,
            largest[number],
        )
        for number in range(len(largest))
    ]


def _all_heads(joined: Value, kind: AttentionKind) -> list[MixedHead]:
    """Return what is known of heads [N, D] that were mixed, as of one; nothing without a proof."""
    if joined.bounds is None:
        return []
    largest = joined.bounds.magnitude.amax(-2) * joined.type.qtype.step
    return [MixedHead(kind, slice(0, len(largest)), None, 0.0, largest)]


def _written_radius(b: Builder, layer: AttentionLayer, heads: list[MixedHead], block: FoldedBlock, rows: int) -> float:
    """Return a bound on the length of what attention adds to a token, but for its last rounding."""
    weight = columns_of(b, block.proj.weight, block.proj.first)
    taps = None if block.lepe is None else taps_of(block.lepe[:, :rows], weight.shape[0])
    step, outputs = 2.0**-b.precision.frac, block.proj.bias.shape[-1]
    rounding = max(_CODES, math.sqrt(outputs) * step * 2.0 ** -(b.weight_frac(block.proj.weight) + 1))
    if taps is not None:  # LePE is rounded before it is added
        rounding += step * float(weight.abs().sum(0).norm())
    if block.proj.first is not None:
        rounding += step * float(b.encoded(block.proj.weight).abs().sum(0).norm())
    return projection(layer, heads, taps, weight) + float(block.proj.bias.norm()) + rounding


def _lepe(b: Builder, name: str, v: Value, matrices: torch.Tensor) -> Value:
    """Return [rows, width of all heads]: each filter's matrix [rows, N] times its columns of the values."""
    filters, rows = matrices.shape[:2]
    tokens, inner = v.type.shape
    v = b.reshape(f"{name}.split", v, tokens, filters, inner // filters)
    mixed = b.rescale(
        f"{name}.mixed", b.linear(f"{name}.matmul", b.permute(f"{name}.columns", v, 1, 2, 0), matrices.mT)
    )
    return b.reshape(name, b.permute(f"{name}.by_token", mixed, 2, 0, 1), rows, inner)


def _first_rows(b: Builder, name: str, x: Value, rows: int) -> Value:
    """Return the first ``rows`` tokens (axis -2); x itself if these are all."""
    return x if rows == x.type.shape[-2] else b.slice(name, x, -2, 0, rows)


def _heads(b: Builder, name: str, value: Value, start: int, count: int, config: ViTConfig) -> Value:
    """Return [count, N, D]: ``count`` heads' columns of queries, keys or values, from column ``start``."""
    part = b.slice(f"{name}.columns", value, -1, start, start + count * config.head_dim)
    part = b.reshape(f"{name}.split", part, part.type.shape[0], count, config.head_dim)
    return b.permute(name, part, 1, 0, 2)


#: What :func:`mpcvit.export.model.export_model` looks for.
EXPORT = export_vit
