"""A Vision Transformer in integers only, from the input's codes to the logits' (I-ViT, ICCV 2023).

I-ViT trains such a model; here one is made of a trained float model and calibration pictures. Its code computes in
float32, which does not hold integers of 31 bits; here every number is an int64, sums fit 32 bits and products 63, or
an error says so.

Axes: B batch, N tokens, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch

from mpcvit.errors import ConfigError
from mpcvit.ivit.attention import HEADS, IntegerAttention, integer_attention
from mpcvit.ivit.dyadic import Dyadic, dyadic, saturate
from mpcvit.ivit.linear import IntegerLinear, integer_linear
from mpcvit.ivit.mlp import ACTIVATIONS, IntegerMlp, integer_mlp
from mpcvit.ivit.norm import IntegerNorm, integer_norm
from mpcvit.ivit.plain_blocks import check_plain_blocks
from mpcvit.ivit.scales import OPERAND_BITS, STREAM_BITS, ScaledEdge, symmetric_scale
from mpcvit.models.check_images import check_images
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Norm
from mpcvit.models.norm import LayerNorm
from mpcvit.models.vit import Block, VisionTransformer, patchify


@dataclass(frozen=True, eq=False)
class Residual:
    """stream + branch, both brought to the scale of the result first."""

    stream: Dyadic
    branch: Dyadic

    def __call__(self, stream: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        return saturate(self.stream(stream) + self.branch(branch), STREAM_BITS)


@dataclass(frozen=True, eq=False)
class IntegerBlock:
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    norm1: IntegerNorm
    attention: IntegerAttention
    residual1: Residual
    norm2: IntegerNorm
    mlp: IntegerMlp
    residual2: Residual

    def __call__(self, codes_BND: torch.Tensor) -> torch.Tensor:
        codes_BND = self.residual1(codes_BND, self.attention(self.norm1(codes_BND)))
        return self.residual2(codes_BND, self.mlp(self.norm2(codes_BND)))


@dataclass(frozen=True, eq=False)
class IntegerViT:
    """A model on codes.

    Attributes:
        config: of the float model.
        input_scale: of the pictures' 8-bit codes.
        embed: from patches to the stream; its bias depends on the patch, for it holds the positions.
        class_token: codes [D] of the stream, position included, if the model has one.
        blocks: one after the other.
        pool: from the sum over tokens to their mean, in the scale of the stream; None with a class token.
        norm, head: behind the pooling; the logits have 16 bits and one scale.
        logit_scale: what 1 stands for in the logits.
    """

    config: ViTConfig
    input_scale: float
    embed: IntegerLinear
    class_token: torch.Tensor | None
    blocks: tuple[IntegerBlock, ...]
    pool: Dyadic | None
    norm: IntegerNorm
    head: IntegerLinear
    logit_scale: float

    def encode(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the pictures' codes, int64 of 8 bits; normalised real pictures go in.

        Raises:
            InputError: ``images_BCHW`` has another shape than the model's input.
        """
        check_images(images_BCHW, self.config.input_shape)
        return saturate((images_BCHW.double() / self.input_scale).round().long(), OPERAND_BITS)

    def logit_codes(self, codes_BCHW: torch.Tensor) -> torch.Tensor:
        """Return integer logits [B, classes], int64 of 16 bits, from codes that :meth:`encode` made.

        No real number in it.

        Raises:
            RangeError: an accumulator does not fit 32 bits.
        """
        stream_BND = self.embed(patchify(codes_BCHW, self.config.patch_size))
        if self.class_token is not None:
            stream_BND = torch.cat([self.class_token.expand(len(stream_BND), 1, -1), stream_BND], dim=1)
        for block in self.blocks:
            stream_BND = block(stream_BND)
        pooled_BD = stream_BND[:, 0] if self.pool is None else self.pool(stream_BND.sum(dim=1))
        return self.head(self.norm(pooled_BD))

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, classes], float64, of normalised pictures.

        Raises:
            InputError: ``images_BCHW`` has another shape than the model's input.
            RangeError: an accumulator does not fit 32 bits.
        """
        return self.logit_codes(self.encode(images_BCHW)).double() * self.logit_scale


@torch.no_grad()
def integer_vit(model: VisionTransformer, images: torch.Tensor) -> IntegerViT:
    """Return ``model`` in integers, its scales calibrated on ``images``.

    Args:
        model: of softmax, ReLU-softmax and scaling heads, GELU, ReLU or no activations, and layer norms; only its
            float weights are read.
        images: normalised float [count, channels, size, size]; some hundred training pictures.

    Raises:
        ConfigError: the model has something for which there is no integer form.
        InputError: ``images`` has another shape than the model's input.
    """
    config = model.config
    _check_kinds(config)
    check_images(images, config.input_shape)
    model = copy.deepcopy(model).double().eval()
    real = images.double()
    input_scale = symmetric_scale(real, OPERAND_BITS)
    own = config.tokens - config.patches
    bias_ND = model.patch_embed.bias + model.pos_embed[own:]
    stream_BND = model.patch_embed(patchify(real, config.patch_size)) + model.pos_embed[own:]
    class_token = None if model.cls_token is None else model.cls_token[0] + model.pos_embed[0]
    if class_token is not None:
        stream_BND = torch.cat([class_token.expand(len(stream_BND), 1, -1), stream_BND], dim=1)
    x = ScaledEdge(stream_BND, symmetric_scale(stream_BND, STREAM_BITS))
    embed = integer_linear(model.patch_embed.weight, bias_ND, input_scale, x.scale, STREAM_BITS)
    class_codes = None if class_token is None else (class_token / x.scale).round().long()
    blocks = []
    for block in model.blocks:
        made, x = _integer_block(cast(Block, block), x)
        blocks.append(made)
    pooled_BD = x.real[:, 0] if config.class_token else x.real.mean(dim=1)
    pool = None
    if not config.class_token:
        scale = symmetric_scale(pooled_BD, STREAM_BITS)
        pool, x = dyadic(x.scale / (config.tokens * scale)), ScaledEdge(pooled_BD, scale)
    norm, x = integer_norm(model.norm, ScaledEdge(pooled_BD, x.scale))
    logit_scale = symmetric_scale(model.head(x.real), STREAM_BITS)
    head = integer_linear(model.head.weight, model.head.bias, x.scale, logit_scale, STREAM_BITS)
    return IntegerViT(config, input_scale, embed, class_codes, tuple(blocks), pool, norm, head, logit_scale)


def _integer_block(block: Block, x: ScaledEdge) -> tuple[IntegerBlock, ScaledEdge]:
    norm1, normal = integer_norm(cast(LayerNorm, block.norm1), x)
    attention, branch = integer_attention(block.attn, normal)
    residual1, x = _residual(x, branch)
    norm2, normal = integer_norm(cast(LayerNorm, block.norm2), x)
    mlp, branch = integer_mlp(block.mlp, normal)
    residual2, x = _residual(x, branch)
    return IntegerBlock(norm1, attention, residual1, norm2, mlp, residual2), x


def _residual(stream: ScaledEdge, branch: ScaledEdge) -> tuple[Residual, ScaledEdge]:
    real = stream.real + branch.real
    scale = symmetric_scale(real, STREAM_BITS)
    return Residual(dyadic(stream.scale / scale), dyadic(branch.scale / scale)), ScaledEdge(real, scale)


def _check_kinds(config: ViTConfig) -> None:
    """Raise ConfigError unless everything in the model has an integer form."""
    check_plain_blocks(config)
    kinds = {kind for block in config.blocks for kind in block.heads}
    norms = {norm for block in config.blocks for norm in block.norms}
    activations = {block.activation for block in config.blocks}
    foreign = {
        f"heads {_names(kinds - HEADS.keys())}": bool(kinds - HEADS.keys()),
        f"activations {_names(activations - ACTIVATIONS.keys())}": bool(activations - ACTIVATIONS.keys()),
        f"norms {_names(norms - {Norm.LAYERNORM})}": norms != {Norm.LAYERNORM},
        "gates on activations": any(block.gate is not None for block in config.blocks),
        "masks on scores": config.gmm > 0,
    }
    for what, found in foreign.items():
        if found:
            raise ConfigError(
                f"a model with {what}",
                expected=f"heads {_names(HEADS)}, activations {_names(ACTIVATIONS)}, layer norms, no gates or masks",
                remedy="Train such a model, or quantize this one with 'mpcvit quantize'.",
            )


def _names(kinds: Iterable[str]) -> str:
    return ", ".join(sorted(kinds))
