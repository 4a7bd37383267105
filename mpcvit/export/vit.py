"""Export of a whole ViT: fold, lower block by block on calibration data, check the result."""

from __future__ import annotations

import torch

from mpcvit.export.attention import ATTENTION, Heads
from mpcvit.export.builder import Builder, Precision, Value
from mpcvit.export.exported import INPUT, Exported, begin, check_reveal, finish
from mpcvit.export.factors import Factors
from mpcvit.export.fold import FoldedBlock, fold
from mpcvit.export.mlp import lower_mlp
from mpcvit.export.normalise import normalised_affine, normed, read_affine
from mpcvit.export.reduction import lower_evit, lower_spvit, lower_window_pool
from mpcvit.models.config import ReductionKind, ViTConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.wire.reveal import LOGITS, Reveal

__all__ = ["INPUT", "Exported", "export_vit"]


@torch.no_grad()
def export_vit(
    model: VisionTransformer,
    images: torch.Tensor,
    precision: Precision | None = None,
    reveal: Reveal = LOGITS,
    factors: Factors = Factors.MERGED,
) -> Exported:
    """The Program of ``model``, its types calibrated on ``images``.

    Args:
        model: in eval mode or not; only its weights are read.
        images: normalised float [count, channels, size, size]; a few hundred training pictures.
        reveal: what the client gets; by default logits.
        factors: what becomes of linear layers of low rank; see :class:`~mpcvit.export.factors.Factors`.

    Raises:
        InputError: ``images`` has another shape than the model's input, or ``reveal`` asks for more labels than there
            are.
        ProgramError: the lowering does not compute what the model computes (a bug).
        RangeError: values do not fit fixed point.
    """
    config = model.config
    check_reveal(reveal, config.classes)
    b, image = begin(images, config.input_shape, precision)
    folded = fold(model, factors)
    patches = _patches(b, image, config)
    if config.class_token:
        patches = b.pad("patches.with_class", patches, -2, 1)
    x = b.affine("embed", patches, folded.embed.weight, folded.embed.bias)
    for number, block in enumerate(folded.blocks):
        # behind the last attention only the class token is read
        rows = 1 if config.class_token and number == config.depth - 1 else block.tokens.attention.count
        x = _block(b, f"block{number}", x, block, config, rows)
    # the sum of all tokens: the division by their number goes into the norm's factor
    pooled = x if config.class_token else b.sum("pooled", x, axis=-2)
    divisor = 1 if config.class_token else config.output_tokens.count
    wide = normalised_affine(b, "head", pooled, folded.head.weight, folded.head.bias, folded.norm, divisor)
    # rescaled although it costs a round: the unrounded product would tell the client the norm's factor
    logits = b.reshape("logits", b.rescale("head", wide), config.classes)
    return finish(b, model, image, logits, reveal)


def _patches(b: Builder, image: Value, config: ViTConfig) -> Value:
    """Patches [patches, C * P * P], the order of ``mpcvit.models.vit.patchify``."""
    side, patch = config.image_size // config.patch_size, config.patch_size
    grid = b.reshape("patches.grid", image, config.channels, side, patch, side, patch)
    grid = b.permute("patches.order", grid, 1, 3, 0, 2, 4)
    return b.reshape("patches", grid, config.patches, config.patch_values)


def _block(b: Builder, name: str, x: Value, block: FoldedBlock, config: ViTConfig, rows: int) -> Value:
    """The residual stream behind a block; ``rows`` are the tokens whose attention is read, the first ones."""
    reduction, reduced = block.reduction, f"{name}.reduce"
    if reduction is not None and reduction.kind is ReductionKind.WINDOW_POOL:
        x = lower_window_pool(b, reduced, x, reduction)
    if reduction is not None and reduction.kind is ReductionKind.SPVIT:
        x = lower_spvit(b, reduced, x, reduction)
    wide = read_affine(b, f"{name}.attn.norm_qkv", normed(b, f"{name}.attn.norm_qkv", x, block.norm), block.qkv)
    qkv = b.rescale(f"{name}.attn.qkv", wide)
    attention = _attention(b, f"{name}.attn", qkv, block, config, rows)
    x = _residual(b, f"{name}.residual1", _first_rows(b, f"{name}.rows", x, rows), attention)
    # a single row is the class token, which stays
    if reduction is not None and reduction.kind is ReductionKind.EVIT and rows > 1:
        x = lower_evit(b, reduced, x, qkv, block.query_gains, reduction)
    return _residual(b, f"{name}.residual2", x, lower_mlp(b, name, x, block.mlp))


def _residual(b: Builder, name: str, x: Value, branch: Value) -> Value:
    """x + branch; pooled streams have more fractional bits than branches."""
    return b.add(name, x, b.widen_frac(f"{name}.aligned", branch, x.type.frac))


def _attention(b: Builder, name: str, qkv: Value, block: FoldedBlock, config: ViTConfig, rows: int) -> Value:
    inner = block.qkv.bias.shape[0] // 3
    outputs, start = [], 0
    for group in block.groups:
        kind, count = group.kind, group.count
        q, k, v = (
            _heads(b, f"{name}.{kind}.{part}", qkv, offset * inner + start, count, config)
            for offset, part in enumerate("qkv")
        )
        q = _first_rows(b, f"{name}.{kind}.q_rows", q, rows)
        keys = b.permute(f"{name}.{kind}.keys", k, 0, 2, 1)
        mask = None if group.mask is None else group.mask[:, :rows]
        output = ATTENTION[kind](b, f"{name}.{kind}", Heads(q, keys, v, group.kernel, mask))
        output = b.permute(f"{name}.{kind}.by_token", output, 1, 0, 2)
        outputs.append(b.reshape(f"{name}.{kind}.joined", output, rows, count * config.head_dim))
        start += count * config.head_dim
    joined = b.concat(f"{name}.heads", outputs, axis=-1)
    if block.lepe is not None:
        local = _lepe(b, f"{name}.lepe", qkv, block.lepe[:, :rows], config)
        joined = b.add(f"{name}.with_lepe", joined, local)
    return b.affine(f"{name}.proj", joined, block.proj.weight, block.proj.bias, block.proj.first)


def _lepe(b: Builder, name: str, qkv: Value, matrices: torch.Tensor, config: ViTConfig) -> Value:
    """[rows, width of all heads]: each filter's matrix [rows, N] times its columns of the values."""
    filters, rows = matrices.shape[:2]
    inner = qkv.type.shape[-1] // 3
    v = b.slice(f"{name}.v", qkv, -1, 2 * inner, 3 * inner)
    v = b.reshape(f"{name}.split", v, v.type.shape[0], filters, inner // filters)
    mixed = b.rescale(
        f"{name}.mixed", b.linear(f"{name}.matmul", b.permute(f"{name}.columns", v, 1, 2, 0), matrices.mT)
    )
    return b.reshape(name, b.permute(f"{name}.by_token", mixed, 2, 0, 1), rows, inner)


def _first_rows(b: Builder, name: str, x: Value, rows: int) -> Value:
    """The first ``rows`` tokens (axis -2); x itself if these are all."""
    return x if rows == x.type.shape[-2] else b.slice(name, x, -2, 0, rows)


def _heads(b: Builder, name: str, qkv: Value, start: int, count: int, config: ViTConfig) -> Value:
    """[count, N, D]: ``count`` heads' columns of the qkv product, from column ``start``."""
    part = b.slice(f"{name}.columns", qkv, -1, start, start + count * config.head_dim)
    part = b.reshape(f"{name}.split", part, part.type.shape[0], count, config.head_dim)
    return b.permute(name, part, 1, 0, 2)
