"""Export of an EfficientFormer. Batch norms, layer scales and pooling go into the products around them.

* A convolution is a product with a matrix over unfolded windows; the batch norm behind it is in matrix and bias.
* The pooling mixer x + s (average - x) is linear, so that it is never opened by itself: with d = m (average - x), exact
  integers for the multiple m of :class:`mpcvit.ops.AveragePool`, the MLP behind it is W1 x + (W1 s / m) d, and the
  residual stream x + (s / m) d. The second product with W1 costs less than an opening on all but the fastest networks.
* Layer norms need a stream without a mean. What is written before the first of them loses its mean over the channels:
  by a product of x with I - 1/C, and in all other weights.
* The two heads of the original are one; the mean over tokens is the product of the norms' factors with the tokens.
"""

from __future__ import annotations

from typing import cast

import torch

from mpcvit.export.activation import ACTIVATION
from mpcvit.export.affine import Affine
from mpcvit.export.attention.softmax import softmax_mix
from mpcvit.export.builder import Builder, Precision, Value
from mpcvit.export.exported import Exported, begin, check_reveal, finish
from mpcvit.export.fold_mlp import ActivatedLayers, FoldedMlp
from mpcvit.export.mlp import lower_mlp
from mpcvit.export.normalise import Division, normalised_affine, normed
from mpcvit.models.config import Activation
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
from mpcvit.wire.reveal import LOGITS, Reveal

#: Most fractional bits of weights of products that are added before they are rounded. Small weights get no more: what
#: that costs is less than an activation's last bit, and wider sums would more often have to be opened again.
_SUMMED_WEIGHT_FRAC = 18


@torch.no_grad()
def export_efficientformer(
    model: EfficientFormer, images: torch.Tensor, precision: Precision | None = None, reveal: Reveal = LOGITS
) -> Exported:
    """The Program of ``model``, its types calibrated on ``images``; see :func:`mpcvit.export.vit.export_vit`."""
    config = model.config
    check_reveal(reveal, config.classes)
    b, image = begin(images, (config.channels, config.image_size, config.image_size), precision)
    x = b.permute("pixels", image, 1, 2, 0)
    for name, layer in (("stem1", model.stem1), ("stem2", model.stem2)):
        x = ACTIVATION[Activation.RELU](b, f"{name}.act", _convolution(b, name, x, _folded(layer)))
    for number, stage in enumerate(model.stages):
        x = _stage(b, f"stage{number}", x, cast(Stage, stage), config)
    head = Affine.of(model.head).after(model.norm)
    factor = normed(b, "norm", x, Division.of(model.norm)).factor
    assert factor is not None  # noqa: S101 - a layer norm has one
    total = b.matmul("pool.total", b.permute("pool.factors", factor, 1, 0), x)
    pooled = b.rescale("pool", total)
    logits = b.affine("head", pooled, head.weight / x.type.shape[0], head.bias)
    return finish(b, model, image, b.reshape("logits", logits, config.classes), reveal)


def _stage(b: Builder, name: str, x: Value, stage: Stage, config: EfficientFormerConfig) -> Value:
    """Grid [H, W, C] to grid, or to tokens [N, C] in a stage with attention."""
    attends = len(stage.attention_blocks) > 0
    if stage.downsample is not None:
        layer = _folded(stage.downsample)
        x = _convolution(b, f"{name}.downsample", x, layer if stage.pool_blocks or not attends else layer.centred())
    for place, block in enumerate(stage.pool_blocks, start=1):
        centred = attends and place == len(stage.pool_blocks)
        x = _pool_block(b, f"{name}.pool{place}", x, cast(PoolBlock, block), config, centred)
    if attends:
        rows, columns, width = x.type.shape
        x = b.reshape(f"{name}.tokens", x, rows * columns, width)
    for place, block in enumerate(stage.attention_blocks, start=1):
        x = _attention_block(b, f"{name}.attention{place}", x, cast(AttentionBlock, block), config)
    return x


def _convolution(b: Builder, name: str, x: Value, layer: Affine) -> Value:
    """[H', W', out], every window times the matrix."""
    return b.affine(name, b.unfold(f"{name}.windows", x, WINDOW, STRIDE, BORDER), layer.weight, layer.bias)


def _folded(layer: ConvNorm) -> Affine:
    """The convolution as a matrix [side * side * in, out] with the batch norm in it."""
    conv, norm = layer.conv, layer.norm
    assert conv.bias is not None and norm.running_mean is not None  # noqa: S101, PT018 - made so
    assert norm.running_var is not None  # noqa: S101
    gain = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    matrix = conv.weight.double().permute(2, 3, 1, 0).flatten(0, 2)
    return Affine(matrix * gain, (conv.bias.double() - norm.running_mean.double()) * gain + norm.bias.double())


def _pool_block(
    b: Builder, name: str, x: Value, block: PoolBlock, config: EfficientFormerConfig, centred: bool
) -> Value:
    """The grid behind the block; without its mean over channels if ``centred``."""
    averages, multiple = b.average_pool(f"{name}.averages", x, block.pool_side)
    change = b.subtract(f"{name}.change", averages, b.scale(f"{name}.multiple", x, multiple, 0))
    gain = block.scale1.double() / multiple
    fc1, fc2 = _folded(block.fc1), _scaled(_folded(block.fc2), block.scale2)
    parts = [
        _product(b, f"{name}.fc1.matmul", x, fc1.weight),
        _product(b, f"{name}.fc1.change_matmul", change, gain[:, None] * fc1.weight),
    ]
    hidden = ACTIVATION[config.activation](b, f"{name}.act", _sum(b, f"{name}.fc1", parts, fc1.bias))
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
    """Tokens [N, C] behind the block; like ``x`` without a mean."""
    mixed = _attention(b, f"{name}.attn", x, block, config)
    x = b.add(f"{name}.residual1", x, mixed)
    fc2 = _scaled(Affine.of(block.fc2), block.scale2).centred()
    layers = ActivatedLayers(Affine.of(block.fc1).after(block.norm2), config.activation, fc2)
    mlp = FoldedMlp(Division.of(block.norm2), None, layers, None)
    return b.add(f"{name}.residual2", x, lower_mlp(b, name, x, mlp))


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
    """``layer``, its outputs times ``factors``."""
    return Affine(layer.weight * factors.double(), layer.bias * factors.double())


def _product(b: Builder, name: str, x: Value, weight: torch.Tensor) -> Value:
    """x @ weight, to be added to other products."""
    return b.linear(name, x, weight, min(b.weight_frac(weight), _SUMMED_WEIGHT_FRAC))


def _sum(b: Builder, name: str, products: list[Value], bias: torch.Tensor) -> Value:
    """The sum of ``products`` and ``bias`` at ordinary precision, rounded once."""
    frac = max(product.type.frac for product in products)
    total = b.parameter(f"{name}.bias", bias, frac)
    for number, product in enumerate(products):
        total = b.add(f"{name}.sum{number}", b.widen_frac(f"{name}.aligned{number}", product, frac), total)
    return b.rescale(name, total)
