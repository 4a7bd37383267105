"""Weight sharing (MiniViT, CVPR 2022): neighbouring blocks use one set of matrices from now on.

This pass only puts a trained model into that form; :mod:`mpcvit.models.sharing` says what is shared and what stays each
block's own. What tells the blocks of a group apart begins as nothing, so that it changes no answer before training.
Without fine-tuning the result is poor, as blocks of a trained model are not alike: train it with
``train(..., start_from=...)`` and the objective ``weight_distillation``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, cast

import torch

from mpcvit.compress.compression import Compression, Notify
from mpcvit.compress.fitting.calibration import BATCH
from mpcvit.compress.rebuild import rebuilt
from mpcvit.compress.requirements import check_ordinary_layers, check_own_weights
from mpcvit.errors import ConfigError
from mpcvit.models.activation import Quad
from mpcvit.models.block import BlockConfig
from mpcvit.models.config import ViTConfig
from mpcvit.models.structure import design
from mpcvit.models.token_flow import BlockTokens
from mpcvit.models.transformations import Transformations
from mpcvit.models.vit import Block, VisionTransformer

#: A block's matrices, and the norms in front of them.
_MATRICES = {"attn.qkv": "norm1", "attn.proj": None, "mlp.fc1": "norm2", "mlp.fc2": None}


class GroupStart(StrEnum):
    """First weights of a group: the mean of its blocks', or those of its first block."""

    MEAN = "mean"
    FIRST = "first"


@dataclass(frozen=True, kw_only=True)
class MiniViT(Compression):
    """Blocks in groups that share weights.

    Attributes:
        group: blocks in a group, at least 2. Where blocks begin to differ in their design, in the kinds of their heads
            for instance, a new group begins; the last one may have fewer, too.
        transform: whether blocks of a group get transformations of their own: mixtures of heads, where all are of one
            kind that has scores, a convolution over patches, where these are a grid, and gains of norms.

    Raises:
        ConfigError: the groups are too small.
    """

    name: ClassVar[str] = "minivit"
    group: int = 2
    transform: bool = True

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ConfigError(
                f"groups of {self.group}", expected="at least 2 blocks in a group", remedy="Correct the settings."
            )

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        return share_blocks(
            model,
            images,
            self,
            lambda first, start, error: report(f"blocks from {first}, start '{start}': squared error {error:.3g}"),
        )


def share_blocks(
    model: VisionTransformer,
    images: torch.Tensor,
    settings: MiniViT,
    report: Callable[[int, str, float], None] = lambda first, start, error: None,
) -> VisionTransformer:
    """Return ``model`` with groups of blocks that share weights.

    Group by group, the groups before in place, both starts are tried, and the one is taken whose residual stream behind
    the group is nearer to the model's on ``images``. Gains of norms are multiplied into the matrices before means are
    taken, as export does, and biases take over what the blocks' own norm biases gave, so that all constants stay.

    Args:
        report: called for every start of a group that is tried, with the group's first block, the start, and the
            squared error of the stream behind the group.

    Raises:
        ConfigError: no two neighbours have the same design, layers are of low rank, or weights are shared already.
    """
    check_ordinary_layers(model, settings.name)
    check_own_weights(model, settings.name)
    shares = _shares(model.config, settings.group)
    config = model.config.with_blocks(shares=shares)
    if settings.transform:
        config = _transformed(config)
    result = rebuilt(model, config)
    owners = config.owners
    groups = [[number for number, owner in enumerate(owners) if owner == first] for first in sorted(set(owners))]
    # blocks of groups that are not reached yet do not matter for what is measured before them
    for group in (group for group in groups if len(group) > 1):
        errors: dict[GroupStart, float] = {}
        for start in GroupStart:
            _write_group(model, result, group, start)
            errors[start] = _stream_error(model, result, group[-1], images)
            report(group[0], start, errors[start])
        _write_group(model, result, group, min(errors, key=errors.__getitem__))
    return result


def _shares(config: ViTConfig, most: int) -> list[bool]:
    """Return whether each block joins the group of the one before it: neighbours of one design, ``most`` at a time."""
    designs = list(map(design, config.blocks, config.block_tokens))
    shares, first = [False], 0
    for number in range(1, config.depth):
        alike = number - first < most and designs[number] == designs[first]
        first = first if alike else number
        shares.append(alike)
    if not any(shares):
        raise ConfigError(
            f"{config.depth} blocks of which no two neighbours have the same design",
            expected="neighbours with equal heads, activations, norms and widths",
            remedy="Share weights before what makes blocks differ, a search or pruning for instance.",
        )
    return shares


def _transformed(config: ViTConfig) -> ViTConfig:
    """Return ``config`` with transformations in blocks of groups that are more than one block."""
    own = [
        _transformations(block, tokens) if config.owners.count(owner) > 1 else None
        for block, tokens, owner in zip(config.blocks, config.block_tokens, config.owners, strict=True)
    ]
    return config.with_blocks(transformations=own)


def _transformations(block: BlockConfig, tokens: BlockTokens) -> Transformations:
    """Return what fits the block."""
    mixable = len(set(block.heads)) == 1 and block.heads[0].facts.scored and not block.heads[0].facts.private
    if tokens.mlp.side is None:
        return Transformations(heads=mixable, convolution=0)
    return Transformations(heads=mixable)


@torch.no_grad()
def _write_group(model: VisionTransformer, result: VisionTransformer, group: list[int], start: GroupStart) -> None:
    """Give a group of ``result`` its first weights."""
    blocks = [cast(Block, model.blocks[number]) for number in group]
    for layer, norm in _MATRICES.items():
        weights, biases = zip(*(_folded(block, layer, norm) for block in blocks), strict=True)
        shared = torch.stack(weights).mean(0) if start is GroupStart.MEAN else weights[0]
        for number, bias in zip(group, biases, strict=True):
            target = cast(Block, result.blocks[number])
            target.get_parameter(f"{layer}.weight").copy_(shared)
            target.get_parameter(f"{layer}.bias").copy_(bias)
            if norm is not None:
                target.get_parameter(f"{norm}.weight").fill_(1.0)
                target.get_parameter(f"{norm}.bias").zero_()
    activations = [block.mlp.act for block in blocks]
    if all(isinstance(activation, Quad) for activation in activations):
        coefficients = torch.stack([activation.get_parameter("coefficients") for activation in activations])
        shared = coefficients.mean(0) if start is GroupStart.MEAN else coefficients[0]
        cast(Block, result.blocks[group[0]]).mlp.act.get_parameter("coefficients").copy_(shared)


def _folded(block: Block, layer: str, norm: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a layer's weight [O, I] and bias with the gain and bias of the norm before it."""
    weight, bias = block.get_parameter(f"{layer}.weight"), block.get_parameter(f"{layer}.bias")
    if norm is None:
        return weight, bias
    gain, shift = block.get_parameter(f"{norm}.weight"), block.get_parameter(f"{norm}.bias")
    return weight * gain, bias + weight @ shift


@torch.no_grad()
def _stream_error(model: VisionTransformer, result: VisionTransformer, block: int, images: torch.Tensor) -> float:
    """Return the mean squared difference of the residual streams behind a block, their means over channels apart."""
    total = 0.0
    for batch in images.split(BATCH):
        lost = model.intermediates(batch)[1][f"block{block}"] - result.intermediates(batch)[1][f"block{block}"]
        total += float((lost - lost.mean(-1, keepdim=True)).double().square().sum()) / lost[0].numel()
    return total / len(images)
