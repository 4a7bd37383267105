"""Algebra that costs nothing in clear and saves secure work: weights that already contain norms, scales and order.

* The mean of the residual stream is never read (every reader is a layer norm, which removes it), so it is removed where
  the stream is *written*: embedding, attention projection and second MLP layer lose their mean over the output axis,
  and layer norm becomes division by the root mean square (SliceGPT, ICLR 2024, section 3.2).
* Layer-norm gain and bias go into the linear layer that follows.
* 1/sqrt(head dim) goes into the query weights.
* Where an activation was removed, the two layers of the MLP are one.
* Heads are reordered so that heads of one kind are neighbours, in ``qkv`` and, to undo it, in ``proj``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from mpcvit.models.config import Activation, AttentionKind, ViTConfig
from mpcvit.models.vit import Attention, Block, VisionTransformer


@dataclass(frozen=True)
class Affine:
    """x @ weight + bias, float64; weight [in, out], bias [out] (or [tokens, out] for the embedding, whose
    class token, if any, is a bias behind a row of zeros)."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True)
class FoldedBlock:
    """One block's weights after folding.

    Attributes:
        groups: (kind, number of heads) in the order in which heads now lie.
        qkv: columns are all queries, then all keys, then all values.
        fc2: None if there is no activation before it; then ``fc1`` is the whole MLP.
    """

    groups: tuple[tuple[AttentionKind, int], ...]
    qkv: Affine
    proj: Affine
    fc1: Affine
    activation: Activation
    fc2: Affine | None


@dataclass(frozen=True)
class FoldedViT:
    """A ViT whose norms are plain root mean squares."""

    config: ViTConfig
    embed: Affine
    blocks: tuple[FoldedBlock, ...]
    head: Affine


def fold(model: VisionTransformer) -> FoldedViT:
    """The folded float64 weights of ``model``; it computes the same function."""
    embed = _centred(_affine(model.patch_embed))
    offsets = model.pos_embed.detach().double().clone()
    if model.cls_token is not None:
        offsets[:1] += model.cls_token.detach().double()
    offsets -= offsets.mean(-1, keepdim=True)
    offsets[model.config.tokens - model.config.patches :] += embed.bias
    return FoldedViT(
        model.config,
        Affine(embed.weight, offsets),
        tuple(_fold_block(cast(Block, block), model.config) for block in model.blocks),
        _after_norm(_affine(model.head), model.norm),
    )


def _fold_block(block: Block, config: ViTConfig) -> FoldedBlock:
    order, groups = _by_kind(block.attn)
    columns = torch.tensor([head * config.head_dim + i for head in order for i in range(config.head_dim)])
    qkv = _after_norm(_affine(block.attn.qkv), block.norm1)
    scale = torch.ones(3, 1, dtype=torch.float64)
    scale[0] = config.head_dim**-0.5
    weight = qkv.weight.reshape(config.dim, 3, config.dim)[:, :, columns] * scale
    bias = qkv.bias.reshape(3, config.dim)[:, columns] * scale
    proj = _affine(block.attn.proj)
    fc1, fc2 = _after_norm(_affine(block.mlp.fc1), block.norm2), _centred(_affine(block.mlp.fc2))
    fused = block.mlp.activation is Activation.IDENTITY
    return FoldedBlock(
        groups,
        Affine(weight.reshape(config.dim, 3 * config.dim), bias.reshape(3 * config.dim)),
        _centred(Affine(proj.weight[columns], proj.bias)),
        Affine(fc1.weight @ fc2.weight, fc1.bias @ fc2.weight + fc2.bias) if fused else fc1,
        block.mlp.activation,
        None if fused else fc2,
    )


def _by_kind(attention: Attention) -> tuple[list[int], tuple[tuple[AttentionKind, int], ...]]:
    kinds = list(dict.fromkeys(attention.kinds))
    order = [head for kind in kinds for head, other in enumerate(attention.kinds) if other is kind]
    return order, tuple((kind, attention.kinds.count(kind)) for kind in kinds)


def _affine(layer: nn.Linear) -> Affine:
    return Affine(layer.weight.detach().double().T, layer.bias.detach().double())


def _centred(layer: Affine) -> Affine:
    return Affine(layer.weight - layer.weight.mean(-1, keepdim=True), layer.bias - layer.bias.mean(-1, keepdim=True))


def _after_norm(layer: Affine, norm: nn.LayerNorm) -> Affine:
    gain, bias = norm.weight.detach().double(), norm.bias.detach().double()
    return Affine(gain[:, None] * layer.weight, layer.bias + bias @ layer.weight)
