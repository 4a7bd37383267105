"""Algebra that costs nothing in clear and saves secure work: weights that already contain norms, scales and order.

* The mean of the residual stream is never read (every reader is a norm, and norms remove it), so it is removed where
  the stream is *written*: embedding, attention projection and second MLP layer lose their mean over the output axis,
  and layer norm becomes division by the root mean square (SliceGPT, ICLR 2024, section 3.2).
* The norms' gains and biases go into the linear layer that follows; of batch norm and affine norm nothing is left.
  Blocks with transformations of their own keep gains apart (``fold_transformations``).
* 1/sqrt(head dim) goes into the query weights, with what a head's kind wants there (``query_gain``).
* A batch norm behind an activation goes into the layer behind it; linear parts of an MLP become one layer
  (``fold_mlp``).
* Heads are reordered so that heads of one kind are neighbours, in ``qkv`` and, to undo it, in ``proj``.
"""

from __future__ import annotations

import copy
from typing import cast

import torch

from mpcvit.export.affine import Affine
from mpcvit.export.attention import ATTENTION
from mpcvit.export.factors import Factors, affine_of
from mpcvit.export.fold_mlp import fold_mlp
from mpcvit.export.fold_prompts import fold_prompts
from mpcvit.export.fold_reduction import fold_reduction
from mpcvit.export.fold_transformations import FoldedMixing, own_input
from mpcvit.export.folded import FoldedBlock, FoldedViT, HeadGroup
from mpcvit.export.normalise import Division
from mpcvit.export.sharing import shared_weights
from mpcvit.models.attention import AttentionKernel
from mpcvit.models.attention.lepe import Lepe
from mpcvit.models.config import ViTConfig
from mpcvit.models.merge_hidden_norms import merge_hidden_norms
from mpcvit.models.vit import Attention, Block, VisionTransformer


def fold(model: VisionTransformer, factors: Factors = Factors.MERGED) -> FoldedViT:
    """Return the folded float64 weights of ``model``; it computes the same function.

    Blocks that share weights have the same tensors.

    Raises:
        ConfigError: gates are still relaxed, or what is folded into weights differs between blocks that share them.
    """
    if any(block.hidden_norm for block in model.config.blocks):
        model = merge_hidden_norms(copy.deepcopy(model).double())
    embed = Affine.of(model.patch_embed).centred()
    offsets = _mean_free(_offsets(model))
    offsets[-model.config.patches :] += embed.bias
    blocks = [
        _fold_block(cast(Block, block), model.config, number, factors) for number, block in enumerate(model.blocks)
    ]
    for number, owner in enumerate(model.config.owners):
        if owner == number:
            continue
        blocks[number] = shared_weights(blocks[number], blocks[owner], f"blocks {owner} and {number}")
    return FoldedViT(
        model.config,
        Affine(embed.weight, offsets),
        tuple(blocks),
        Division.of(model.norm),
        Affine.of(model.head).after(model.norm),
        None if model.prompts is None else fold_prompts(model.prompts),
        None if model.denoiser_embed is None else _mean_free(model.denoiser_embed.detach().double()),
    )


def _offsets(model: VisionTransformer) -> torch.Tensor:
    """Return what is added to every token of the embedding but prompts: positions, class token, registers."""
    offsets = model.pos_embed.detach().double().clone()
    first = int(model.config.class_token)
    if model.cls_token is not None:
        offsets[:first] += model.cls_token.detach().double()
    extra = [] if model.registers is None else [model.registers.detach().double()]
    return torch.cat([offsets[:first], *extra, offsets[first:]])


def _mean_free(offsets: torch.Tensor) -> torch.Tensor:
    return offsets - offsets.mean(-1, keepdim=True)


def _fold_block(block: Block, config: ViTConfig, number: int, factors: Factors) -> FoldedBlock:
    tokens = config.block_tokens[number]
    order, groups = _by_kind(block.attn)
    columns = torch.tensor([head * config.head_dim + i for head in order for i in range(config.head_dim)])
    inner = len(columns)
    gains = torch.cat([_query_gain(group, tokens.attention.count) for group in groups])
    gains = gains.repeat_interleave(config.head_dim)
    scale = torch.ones(3, inner, dtype=torch.float64)
    scale[0] = config.head_dim**-0.5 * gains
    apart, mixing = config.blocks[number].transformations is not None, block.attn.mixing
    qkv, own = affine_of(block.attn.qkv, factors), None
    if apart:
        own, qkv = own_input(block.norm1, qkv, None)
    else:
        qkv = qkv.after(block.norm1)
    return FoldedBlock(
        Division.of(block.norm1),
        groups,
        qkv.outputs(torch.cat([part * inner + columns for part in range(3)])).scaled(scale.flatten()),
        affine_of(block.attn.proj, factors).inputs(columns).centred(),
        fold_mlp(block.mlp, block.norm2, factors, apart=apart),
        None if block.attn.lepe is None else _ordered_filters(block.attn.lepe, order),
        gains,
        tokens,
        fold_reduction(block, config.blocks[number].reduction, tokens.entry),
        own,
        None if mixing is None else FoldedMixing.of(mixing),
    )


def _by_kind(attention: Attention) -> tuple[list[int], tuple[HeadGroup, ...]]:
    """Return the heads in their new order, and what they are in that order."""
    masks = None if attention.mask is None else copy.deepcopy(attention.mask).double()().detach()
    order, groups = [], []
    for kind in dict.fromkeys(attention.kinds):
        members = [head for head, other in enumerate(attention.kinds) if other is kind]
        kernel = copy.deepcopy(cast(AttentionKernel, attention.kernels[kind.value])).double()
        groups.append(HeadGroup(kind, len(members), kernel, None if masks is None else masks[members]))
        order += members
    return order, tuple(groups)


def _ordered_filters(lepe: Lepe, order: list[int]) -> torch.Tensor:
    """Return the matrices of ``lepe``, heads in ``order``."""
    matrices = copy.deepcopy(lepe).double().matrices().detach()
    by_head = matrices.reshape(len(order), -1, *matrices.shape[1:])
    return by_head[order].flatten(0, 1)


def _query_gain(group: HeadGroup, tokens: int) -> torch.Tensor:
    """Return a factor [count] of the queries."""
    gain = torch.ones(group.count, dtype=torch.float64)
    query_gain = ATTENTION[group.kind].query_gain
    if query_gain is not None:
        gain *= query_gain(group.kernel, tokens)
    return gain
