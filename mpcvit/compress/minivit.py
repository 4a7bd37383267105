"""Weight sharing (MiniViT, CVPR 2022): neighbouring blocks use one set of matrices from now on.

This pass only puts a trained model into that form; :mod:`mpcvit.models.sharing` says what is shared and what stays each
block's own. Without fine-tuning the result is poor, as blocks of a trained model are not alike: train it with
``train(..., start_from=...)`` and the objective ``weight_distillation``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, cast

import torch

from mpcvit.compress.calibration import BATCH
from mpcvit.compress.compression import Compression
from mpcvit.compress.rebuild import rebuilt
from mpcvit.compress.requirements import check_ordinary_layers, check_own_weights
from mpcvit.errors import ConfigError
from mpcvit.models.activation import Quad
from mpcvit.models.vit import Block, VisionTransformer

#: A block's matrices, and the norms in front of them.
_MATRICES = {"attn.qkv": "norm1", "attn.proj": None, "mlp.fc1": "norm2", "mlp.fc2": None}
#: (number of the group's first block, how its weights were made, squared error behind its last block)
Report = Callable[[int, str, float], None]


class Start(StrEnum):
    """First weights of a group: the mean of its blocks', or those of its first block."""

    MEAN = "mean"
    FIRST = "first"


@dataclass(frozen=True, kw_only=True)
class MiniViT(Compression):
    """Blocks in groups that share weights.

    Attributes:
        group: blocks in a group, at least 2; the last group may have fewer.

    Raises:
        ConfigError: the groups are too small.
    """

    name: ClassVar[str] = "minivit"
    group: int = 2

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ConfigError(
                f"groups of {self.group}", expected="at least 2 blocks in a group", remedy="Correct the settings."
            )

    def apply(self, model: VisionTransformer, images: torch.Tensor) -> VisionTransformer:
        return share_blocks(model, images, self)


def share_blocks(
    model: VisionTransformer,
    images: torch.Tensor,
    settings: MiniViT,
    report: Report = lambda first, start, error: None,
) -> VisionTransformer:
    """``model`` with groups of blocks that share weights.

    Group by group, the groups before in place, both starts are tried, and the one is taken whose residual stream behind
    the group is nearer to the model's on ``images``. Gains of norms are multiplied into the matrices before means are
    taken, as export does, and biases take over what the blocks' own norm biases gave, so that all constants stay.

    Args:
        report: called with every group and start that is tried.

    Raises:
        ConfigError: blocks of a group differ in their design, layers are of low rank, or weights are shared already.
    """
    check_ordinary_layers(model, settings.name)
    check_own_weights(model, settings.name)
    depth = model.config.depth
    owners = tuple(number - number % settings.group for number in range(depth))
    result = rebuilt(model, replace(model.config, sharing=owners))
    groups = [range(first, min(first + settings.group, depth)) for first in range(0, depth, settings.group)]
    # blocks of groups that are not reached yet do not matter for what is measured before them
    for group in (group for group in groups if len(group) > 1):
        errors: dict[Start, float] = {}
        for start in Start:
            _write_group(model, result, group, start)
            errors[start] = _stream_error(model, result, group[-1], images)
            report(group[0], start, errors[start])
        _write_group(model, result, group, min(errors, key=errors.__getitem__))
    return result


@torch.no_grad()
def _write_group(model: VisionTransformer, result: VisionTransformer, group: range, start: Start) -> None:
    """Give a group of ``result`` its first weights."""
    blocks = [cast(Block, model.blocks[number]) for number in group]
    for layer, norm in _MATRICES.items():
        weights, biases = zip(*(_folded(block, layer, norm) for block in blocks), strict=True)
        shared = torch.stack(weights).mean(0) if start is Start.MEAN else weights[0]
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
        shared = coefficients.mean(0) if start is Start.MEAN else coefficients[0]
        cast(Block, result.blocks[group[0]]).mlp.act.get_parameter("coefficients").copy_(shared)


def _folded(block: Block, layer: str, norm: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's weight [O, I] and bias with the gain and bias of the norm before it."""
    weight, bias = block.get_parameter(f"{layer}.weight"), block.get_parameter(f"{layer}.bias")
    if norm is None:
        return weight, bias
    gain, shift = block.get_parameter(f"{norm}.weight"), block.get_parameter(f"{norm}.bias")
    return weight * gain, bias + weight @ shift


@torch.no_grad()
def _stream_error(model: VisionTransformer, result: VisionTransformer, block: int, images: torch.Tensor) -> float:
    """Mean squared difference of the residual streams behind a block, their means over channels apart."""
    total = 0.0
    for batch in images.split(BATCH):
        lost = model.intermediates(batch)[1][f"block{block}"] - result.intermediates(batch)[1][f"block{block}"]
        total += float((lost - lost.mean(-1, keepdim=True)).double().square().sum()) / lost[0].numel()
    return total / len(images)
