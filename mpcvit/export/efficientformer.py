"""Export of an EfficientFormer. Batch norms, layer scales and pooling go into the products around them.

* The first convolution normalises: its border of zeros stands for values that no pixel has, so its bias is a map.
* A convolution is a product with a matrix over unfolded windows; the batch norm behind it is in matrix and bias.
* The pooling mixer x + s (average - x) is linear, so that it is never opened by itself: with d = m (average - x), exact
  integers for the multiple m of :class:`mpcvit.ops.AveragePool`, the MLP behind it is W1 x + (W1 s / m) d, and the
  residual stream x + (s / m) d. The second product with W1 costs less than an opening on all but the fastest networks.
* Layer norms need a stream without a mean. What is written before the first of them loses its mean over the channels:
  by a product of x with I - 1/C, and in all other weights.
* The two heads of the original are one; the mean over tokens is the product of the norms' factors with the tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch

from mpcvit.export.activation import ACTIVATION
from mpcvit.export.affine import Affine
from mpcvit.export.answer import check_reveal
from mpcvit.export.attention.softmax import softmax_mix
from mpcvit.export.builder import Builder, Precision, Value
from mpcvit.export.exported import Exported, begin, finish
from mpcvit.export.factors import Factors
from mpcvit.export.fold_mlp import ActivatedLayers, FoldedMlp
from mpcvit.export.mlp import lower_mlp
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.normalise import Division, normalised_affine, normed
from mpcvit.export.parts import Role
from mpcvit.models.efficientformer import (
    BORDER,
    STRIDE,
    WINDOW,
    AttentionBlock,
    ConvNorm,
    EfficientFormer,
    EfficientFormerConfig,
    PoolBlock,
    Stage,
)
from mpcvit.models.kinds import Activation
from mpcvit.ops import Unfold
from mpcvit.wire.reveal import LOGITS, Disclosure

#: Most fractional bits of weights of products that are added before they are rounded. Small weights get no more: what
#: that costs is less than an activation's last bit, and wider sums would more often have to be opened again.
_SUMMED_WEIGHT_FRAC = 18


@torch.no_grad()
def export_efficientformer(
    model: EfficientFormer,
    images: torch.Tensor,
    precision: Precision | None = None,
    reveal: Disclosure = LOGITS,
    factors: Factors = Factors.MERGED,
    normalisation: Normalisation = NOISE,
) -> Exported:
    """Return the Program of ``model``, its types calibrated on ``images``; see :func:`mpcvit.export.vit.export_vit`."""
    config = model.config
    check_reveal(reveal, config.classes)
    b, image = begin(images, (config.channels, config.image_size, config.image_size), normalisation, precision)
    x = b.permute("pixels", image, 1, 2, 0)
    stems = ("stem1", _stem_of_pixels(model.stem1, normalisation, config)), ("stem2", _folded(model.stem2))
    for name, layer in stems:
        x = ACTIVATION[Activation.RELU].lower(b, f"{name}.act", _convolution(b, name, x, layer))
    first = 0
    for number, stage in enumerate(cast(Iterable[Stage], model.stages)):
        x = _stage(b, f"stage{number}", x, stage, config, first)
        first += len(stage.pool_blocks) + len(stage.attention_blocks)
    with b.scope(Role.HEAD):
        return finish(b, model, normalisation, image, _head(b, x, model), reveal)


def _head(b: Builder, x: Value, model: EfficientFormer) -> Value:
    """Return the logits [classes] of the last stage's tokens [N, C]."""
    head = Affine.of(model.head).after(model.norm)
    factor = normed(b, "norm", x, Division.of(model.norm)).factor
    assert factor is not None  # noqa: S101 - a layer norm has one
    total = b.matmul("pool.total", b.permute("pool.factors", factor, 1, 0), x)
    pooled = b.rescale("pool", total)
    logits = b.affine("head", pooled, head.weight / x.type.shape[0], head.bias)
    return b.reshape("logits", logits, model.config.classes)


def _stem_of_pixels(stem: ConvNorm, normalisation: Normalisation, config: EfficientFormerConfig) -> Affine:
    """Return ``stem`` with the normalisation of the pixels before it; its bias is [H', W', out]."""
    layer = _folded(stem)
    gain, offset = (part.expand(config.channels) for part in (normalisation.gain, normalisation.offset))
    black = offset.expand(config.image_size, config.image_size, config.channels)
    windows = Unfold(WINDOW, STRIDE, BORDER).linear(black[None])[0]
    return Affine(gain.repeat(WINDOW * WINDOW)[:, None] * layer.weight, windows @ layer.weight + layer.bias)


def _stage(b: Builder, name: str, x: Value, stage: Stage, config: EfficientFormerConfig, first: int) -> Value:
    """Return grid [H, W, C] to grid, or to tokens [N, C] in a stage with attention.

    ``first`` is its first block's number.
    """
    attends = len(stage.attention_blocks) > 0
    if stage.downsample is not None:
        layer = _folded(stage.downsample)
        x = _convolution(b, f"{name}.downsample", x, layer if stage.pool_blocks or not attends else layer.centred())
    for place, block in enumerate(stage.pool_blocks, start=1):
        centred = attends and place == len(stage.pool_blocks)
        with b.scope(Role.MLP, block=first + place - 1):  # the mixer is part of the MLP's products
            x = _pool_block(b, f"{name}.pool{place}", x, cast(PoolBlock, block), config, centred)
    if attends:
        rows, columns, width = x.type.shape
        x = b.reshape(f"{name}.tokens", x, rows * columns, width)
    for place, block in enumerate(stage.attention_blocks, start=1):
        with b.scope(Role.MLP, block=first + len(stage.pool_blocks) + place - 1):
            x = _attention_block(b, f"{name}.attention{place}", x, cast(AttentionBlock, block), config)
    return x


def _convolution(b: Builder, name: str, x: Value, layer: Affine) -> Value:
    """Return [H', W', out], every window times the matrix."""
    return b.affine(name, b.unfold(f"{name}.windows", x, WINDOW, STRIDE, BORDER), layer.weight, layer.bias)


def _folded(layer: ConvNorm) -> Affine:
    """Return the convolution as a matrix [side * side * in, out] with the batch norm in it."""
    conv, norm = layer.conv, layer.norm
    assert conv.bias is not None and norm.running_mean is not None  # noqa: S101, PT018 - made so
    assert norm.running_var is not None  # noqa: S101
    gain = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    matrix = conv.weight.double().permute(2, 3, 1, 0).flatten(0, 2)
    return Affine(matrix * gain, (conv.bias.double() - norm.running_mean.double()) * gain + norm.bias.double())


def _pool_block(
    b: Builder, name: str, x: Value, block: PoolBlock, config: EfficientFormerConfig, centred: bool
) -> Value:
    """Return the grid behind the block; without its mean over channels if ``centred``."""
    averages, multiple = b.average_pool(f"{name}.averages", x, block.pool_side)
    change = b.subtract(f"{name}.change", averages, b.scale(f"{name}.multiple", x, multiple, 0))
    gain = block.scale1.double() / multiple
    fc1, fc2 = _folded(block.fc1), _scaled(_folded(block.fc2), block.scale2)
    parts = [
        _product(b, f"{name}.fc1.matmul", x, fc1.weight),
        _product(b, f"{name}.fc1.change_matmul", change, gain[:, None] * fc1.weight),
    ]
    hidden = ACTIVATION[config.activation].lower(b, f"{name}.act", _sum(b, f"{name}.fc1", parts, fc1.bias))
    if not centred:
        factors = b.parameter(f"{name}.gain", gain, min(b.weight_frac(gain), _SUMMED_WEIGHT_FRAC))
        parts = [_product(b, f"{name}.fc2.matmul", hidden, fc2.weight), b.multiply(f"{name}.mixed", change, factors)]
        return b.add(f"{name}.residual", x, _sum(b, f"{name}.fc2", parts, fc2.bias))
    stream = Affine(torch.eye(len(gain), dtype=torch.float64), torch.zeros_like(gain)).centred()
    fc2 = fc2.centred()
    parts = [
        _product(b, f"{name}.fc2.matmul", hidden, fc2.weight),
        b.linear(f"{name}.centred", x, stream.weight, _SUMMED_WEIGHT_FRAC),  # all bits: 1/C is small beside 1
        _product(b, f"{name}.mixed", change, gain[:, None] * stream.weight),
    ]
    return _sum(b, f"{name}.fc2", parts, fc2.bias)


def _attention_block(b: Builder, name: str, x: Value, block: AttentionBlock, config: EfficientFormerConfig) -> Value:
    """Return the tokens [N, C] behind the block; like ``x`` without a mean."""
    with b.scope(Role.ATTENTION):
        mixed = _attention(b, f"{name}.attn", x, block, config)
        x = b.add(f"{name}.residual1", x, mixed)
    fc2 = _scaled(Affine.of(block.fc2), block.scale2).centred()
    layers = ActivatedLayers(Affine.of(block.fc1).after(block.norm2), config.activation, fc2)
    mlp = FoldedMlp(Division.of(block.norm2), None, layers, None)
    return b.add(f"{name}.residual2", x, b.rescale(f"{name}.mlp", lower_mlp(b, name, x, mlp)))


def _attention(b: Builder, name: str, x: Value, block: AttentionBlock, config: EfficientFormerConfig) -> Value:
    attn, tokens = block.attn, x.type.shape[0]
    layer = Affine.of(attn.qkv).after(block.norm1)
    scale = torch.ones_like(layer.bias)
    scale[: attn.widths[0]] = config.key_dim**-0.5
    layer = _scaled(layer, scale)
    wide = normalised_affine(b, f"{name}.norm_qkv", x, layer.weight, layer.bias, Division.of(block.norm1))
    qkv, start, parts = b.rescale(f"{name}.qkv", wide), 0, []
    for part, width in zip("qkv", attn.widths, strict=True):
        columns = b.slice(f"{name}.{part}.columns", qkv, -1, start, start + width)
        parts.append(b.reshape(f"{name}.{part}", columns, tokens, config.heads, width // config.heads))
        start += width
    q = b.permute(f"{name}.queries", parts[0], 1, 0, 2)
    keys = b.permute(f"{name}.keys", parts[1], 1, 2, 0)
    v = b.permute(f"{name}.values", parts[2], 1, 0, 2)
    product = b.matmul(f"{name}.scores_product", q, keys)
    biases = b.parameter(f"{name}.biases", attn.score_bias().double(), product.type.frac)
    scores = b.rescale(f"{name}.scores", b.add(f"{name}.biased", product, biases))
    output = b.permute(f"{name}.by_token", softmax_mix(b, f"{name}.softmax", scores, v), 1, 0, 2)
    joined = b.reshape(f"{name}.joined", output, tokens, attn.widths[-1])
    proj = _scaled(Affine.of(attn.proj), block.scale1).centred()
    return b.affine(f"{name}.proj", joined, proj.weight, proj.bias)


def _scaled(layer: Affine, factors: torch.Tensor) -> Affine:
    """Return ``layer``, its outputs times ``factors``."""
    return Affine(layer.weight * factors.double(), layer.bias * factors.double())


def _product(b: Builder, name: str, x: Value, weight: torch.Tensor) -> Value:
    """Return x @ weight, to be added to other products."""
    return b.linear(name, x, weight, min(b.weight_frac(weight), _SUMMED_WEIGHT_FRAC))


def _sum(b: Builder, name: str, products: list[Value], bias: torch.Tensor) -> Value:
    """Return the sum of ``products`` and ``bias`` at ordinary precision, rounded once."""
    frac = max(product.type.frac for product in products)
    total = b.parameter(f"{name}.bias", bias, frac)
    for number, product in enumerate(products):
        total = b.add(f"{name}.sum{number}", b.widen_frac(f"{name}.aligned{number}", product, frac), total)
    return b.rescale(name, total)


#: What :func:`mpcvit.export.model.export_model` looks for.
EXPORT = export_efficientformer
