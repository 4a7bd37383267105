"""Bits for layers by what they contribute to a model's answers (LRP-QViT, 2024).

Relevance starts as 1 at the answered label's logit and flows back to the pixels. What passes a layer, averaged over
calibration pictures, is the layer's contribution. Layers of one branch share theirs; branches differ.

The source has no public code and its exact objective could not be checked. Here, as dossier B.7 reconstructs it: the
sum of contribution times bits is to be largest, each layer having one bit less than the configuration's, as many, or
one more. The budget is the mean of the layers' weight bits, weighted by their multiplications; the source's may be
the size of the weights.

A sum that is linear in bits is largest where nearly all layers have an extreme number of bits. On the shipped CIFAR-10
model that is worse than equal bits (RepQ-ViT without reconstruction on 2,000 test pictures: 77.9 % against 80.4 % for a
mean of 4 bits, 36 % against 68 % for 3), so measure before using it.

Axes: B batch, N tokens, M keys, D width.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.attention.lepe import Lepe
from mpcvit.models.check_images import check_images
from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import Attention, Block, Mlp, VisionTransformer, patchify
from mpcvit.quantize.config import Bits, QuantizeConfig
from mpcvit.quantize.plain_blocks import check_plain_blocks
from mpcvit.quantize.relevance import through_linear, through_mean, through_product, through_sum

_BATCH = 16


@dataclass(frozen=True, eq=False)
class Relevance:
    """Where the relevance of a batch's answers lies; all of it is at least 0.

    Attributes:
        layers: by a layer's module name, what passes it, a mean over the pictures; products of an attention go by the
            attention's name.
        patches: what reaches the pixels, [B, patches, values].
        embeddings: what the class token and the position embeddings keep, [B]. With ``patches`` it sums to 1.
    """

    layers: dict[str, float]
    patches: torch.Tensor
    embeddings: torch.Tensor


def allocate(
    model: VisionTransformer, images: torch.Tensor, config: QuantizeConfig, mean_bits: float | None = None
) -> QuantizeConfig:
    """``config`` with more bits for layers that contribute more, and fewer for others.

    Greedy: all layers begin with one bit less than ``config.bits``; then the layer with the largest contribution per
    multiplication gets another bit, up to one more than ``config.bits``, as long as the budget holds. Weights and
    activations of a layer move together.

    Args:
        model: the float model.
        images: normalised calibration pictures, float [count, channels, size, size].
        config: its ``layers`` are replaced.
        mean_bits: weight bits that a multiplication has on average at most; by default those of ``config.bits``.

    Raises:
        ConfigError: ``mean_bits`` is less than one below the weight bits of ``config.bits``, or a bit less or more
            than those is no width; or blocks share weights.
        InputError: ``images`` has another shape than the model's input.
    """
    if model.config.sharing:
        raise ConfigError(
            "a model whose blocks share weights",
            expected="layers that can have widths of their own",
            remedy="Quantize it with equal bits, or take the model as it was before blocks shared weights.",
        )
    budget = config.bits.weight if mean_bits is None else mean_bits
    contributions, work = contribution(model, images), multiplications(model.config)
    steps = dict.fromkeys(contributions, -1)
    left = (budget - (config.bits.weight - 1)) * sum(work.values())
    if left < 0:
        raise ConfigError(
            f"a budget of {budget:g} bits",
            expected=f"at least {config.bits.weight - 1}, one less than the configuration's",
            remedy="Raise the budget, or lower the configuration's bits.",
        )
    for name in sorted(contributions, key=lambda name: contributions[name] / work[name], reverse=True):
        while steps[name] < 1 and work[name] <= left:
            steps[name] += 1
            left -= work[name]
    layers = tuple(
        (name, Bits(weight=config.bits.weight + step, activation=config.bits.activation + step))
        for name, step in steps.items()
        if step != 0
    )
    return replace(config, layers=layers)


def multiplications(config: ViTConfig) -> dict[str, int]:
    """Multiplications for a picture by layer name; an attention's are those of Q with K and of weights with V."""
    tokens, dim = config.tokens, config.dim
    work = {"patch_embed": config.patches * config.patch_values * dim}
    for number in range(config.depth):
        block = f"blocks.{number}"
        work[f"{block}.attn.qkv"] = tokens * dim * 3 * dim
        work[f"{block}.attn"] = 2 * tokens * tokens * dim
        work[f"{block}.attn.proj"] = tokens * dim * dim
        work[f"{block}.mlp.fc1"] = work[f"{block}.mlp.fc2"] = tokens * dim * config.block_hiddens[number]
    return work | {"head": dim * config.classes}


def contribution(model: VisionTransformer, images: torch.Tensor) -> dict[str, float]:
    """The mean contribution of every layer, by name, over ``images``.

    Raises:
        InputError: ``images`` has another shape than the model's input.
        ConfigError: the model was compressed in a way for which there is no rule.
    """
    check_images(images, model.config.input_shape)
    check_plain_blocks(model.config)
    total: dict[str, float] = defaultdict(float)
    for batch in images.split(_BATCH):
        for name, value in relevance(model, batch).layers.items():
            total[name] += value * len(batch) / len(images)
    return dict(total)


@torch.no_grad()
def relevance(model: VisionTransformer, images: torch.Tensor) -> Relevance:
    """The relevance of everything in ``model``, in eval mode and float64, for the labels that it answers."""
    model = copy.deepcopy(model).double().eval()
    images = images.double()
    logits, out = model.intermediates(images)
    answers = torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).double()
    layers = {"head": 1.0}
    pooled_BD = through_linear(out["pooled"], model.head.weight, answers)
    last_BND = out[f"block{len(model.blocks) - 1}"]
    if model.cls_token is None:
        flow_BND = through_mean(last_BND, pooled_BD)
    else:
        flow_BND = torch.cat([pooled_BD[:, None], torch.zeros_like(last_BND[:, 1:])], dim=1)
    for number in reversed(range(len(model.blocks))):
        before_BND = out["embed" if number == 0 else f"block{number - 1}"]
        branches = out[f"block{number}.attn"], out[f"block{number}.mlp"]
        block = cast(Block, model.blocks[number])
        flow_BND = _through_block(block, f"blocks.{number}", before_BND, branches, flow_BND, layers)
    patches_BNP = patchify(images, model.config.patch_size)
    own = model.config.tokens - model.config.patches
    positions_ND = model.pos_embed[own:].expand(len(images), -1, -1)
    embedded, positions = through_sum(model.patch_embed(patches_BNP), positions_ND, flow_BND[:, own:])
    layers["patch_embed"] = _passing(embedded)
    kept = flow_BND[:, :own].sum(dim=(1, 2)) + positions.sum(dim=(1, 2))
    return Relevance(layers, through_linear(patches_BNP, model.patch_embed.weight, embedded), kept)


def _through_block(
    block: Block,
    name: str,
    before_BND: torch.Tensor,
    branches: tuple[torch.Tensor, torch.Tensor],
    flow_BND: torch.Tensor,
    layers: dict[str, float],
) -> torch.Tensor:
    """The relevance of what the block reads; what its layers contribute goes to ``layers``."""
    attention_BND, mlp_BND = branches
    middle_BND = before_BND + attention_BND
    stream_BND, branch_BND = through_sum(middle_BND, mlp_BND, flow_BND)
    stream_BND = stream_BND + _through_mlp(block.mlp, f"{name}.mlp", block.norm2(middle_BND), branch_BND, layers)
    stream_BND, branch_BND = through_sum(before_BND, attention_BND, stream_BND)
    normal_BND = block.norm1(before_BND)
    return stream_BND + _through_attention(block.attn, f"{name}.attn", normal_BND, branch_BND, layers)


def _through_mlp(
    mlp: Mlp, name: str, x_BND: torch.Tensor, branch_BND: torch.Tensor, layers: dict[str, float]
) -> torch.Tensor:
    h_BNM = mlp.fc1(x_BND)
    activated_BNM = mlp.act(h_BNM)
    if mlp.gate is not None:
        activated_BNM = mlp.gate(h_BNM, activated_BNM)
    layers[f"{name}.fc2"] = _passing(branch_BND)
    hidden_BNM = through_linear(activated_BNM, cast(nn.Linear, mlp.fc2).weight, branch_BND)
    layers[f"{name}.fc1"] = _passing(hidden_BNM)
    return through_linear(x_BND, cast(nn.Linear, mlp.fc1).weight, hidden_BNM)


def _through_attention(
    attention: Attention, name: str, x_BND: torch.Tensor, branch_BND: torch.Tensor, layers: dict[str, float]
) -> torch.Tensor:
    """Whatever the kind, heads are weights times V, and relevance of weights is that of scores."""
    batch, tokens, width = x_BND.shape
    heads, head_dim = len(attention.kinds), attention.head_dim
    split = attention.qkv(x_BND).reshape(batch, tokens, 3, heads, head_dim).permute(2, 0, 3, 1, 4)
    q_BHND, k_BHMD, v_BHMD = split.unbind(0)
    weights_BHNM = _weights(attention, q_BHND * head_dim**-0.5, k_BHMD)
    mixed_BHND = weights_BHNM @ v_BHMD
    local_BHND = None if attention.lepe is None else attention.lepe(v_BHMD)
    output_BHND = mixed_BHND if local_BHND is None else mixed_BHND + local_BHND
    merged_BND = output_BHND.transpose(1, 2).reshape(batch, tokens, width)
    layers[f"{name}.proj"] = _passing(branch_BND)
    merged = through_linear(merged_BND, cast(nn.Linear, attention.proj).weight, branch_BND)
    flow_BHND = merged.reshape(batch, tokens, heads, head_dim).transpose(1, 2)
    of_v_BHMD = torch.zeros_like(v_BHMD)
    if attention.lepe is not None and local_BHND is not None:
        flow_BHND, local = through_sum(mixed_BHND, local_BHND, flow_BHND)
        of_v_BHMD = _through_lepe(attention.lepe, v_BHMD, local)
    layers[name] = _passing(flow_BHND)
    of_scores_BHNM, through_v_BHMD = through_product(weights_BHNM, v_BHMD, flow_BHND)
    of_q_BHND, of_k_BHDM = through_product(q_BHND, k_BHMD.mT, of_scores_BHNM)
    operands = torch.stack([of_q_BHND, of_k_BHDM.mT, of_v_BHMD + through_v_BHMD])
    layers[f"{name}.qkv"] = _passing(operands.transpose(0, 1))
    joined_BNE = operands.permute(1, 3, 0, 2, 4).reshape(batch, tokens, 3 * width)
    return through_linear(x_BND, cast(nn.Linear, attention.qkv).weight, joined_BNE)


def _weights(attention: Attention, q_BHND: torch.Tensor, k_BHMD: torch.Tensor) -> torch.Tensor:
    """What heads multiply V with, [B, H, N, M]: their output where V is the identity, for all kinds are linear in V."""
    batch, heads, tokens, _ = q_BHND.shape
    identity_BHMM = torch.eye(tokens, dtype=q_BHND.dtype, device=q_BHND.device).expand(batch, heads, -1, -1)
    mask_HNM = None if attention.mask is None else attention.mask()
    weights_BHNM = torch.empty_like(identity_BHMM.contiguous())
    for kind, kernel in attention.kernels.items():
        members = [head for head, other in enumerate(attention.kinds) if other == kind]
        masks = () if mask_HNM is None else (mask_HNM[members],)
        weights_BHNM[:, members] = kernel(q_BHND[:, members], k_BHMD[:, members], identity_BHMM[:, members], *masks)
    return weights_BHNM


def _through_lepe(lepe: Lepe, v_BHMD: torch.Tensor, flow_BHND: torch.Tensor) -> torch.Tensor:
    """The relevance of V from that of its convolutions: a linear layer over tokens per filter."""
    matrices_FNM = lepe.matrices()
    batch, heads, tokens, width = v_BHMD.shape
    shape = (batch, len(matrices_FNM), -1, tokens)
    v, flow = v_BHMD.mT.reshape(shape), flow_BHND.mT.reshape(shape)
    return through_linear(v, matrices_FNM, flow).reshape(batch, heads, width, tokens).mT


def _passing(flow: torch.Tensor) -> float:
    """Relevance that passes, the mean over pictures."""
    return float(flow.sum() / len(flow))
