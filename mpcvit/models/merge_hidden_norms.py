"""Batch norms behind activations, put into the layers behind them: all that is left of them after training."""

from __future__ import annotations

from typing import cast

import torch

from mpcvit.models.low_rank import LowRank
from mpcvit.models.vit import Block, VisionTransformer


@torch.no_grad()
def merge_hidden_norms(model: VisionTransformer) -> VisionTransformer:
    """Return a model in eval mode without norms behind activations that computes what ``model`` does in eval mode.

    ``model`` itself, if it has none. Export, quantization and compression begin with this.
    """
    if not any(block.hidden_norm for block in model.config.blocks):
        return model
    example = next(model.parameters())
    result = VisionTransformer(model.config.with_blocks(hidden_norm=[False] * model.config.depth))
    result.to(device=example.device, dtype=example.dtype)
    result.load_state_dict({name: value for name, value in model.state_dict().items() if ".mlp.norm." not in name})
    for source, target in zip(model.blocks, result.blocks, strict=True):
        norm, layer = cast(Block, source).mlp.norm, cast(Block, target).mlp.fc2
        if norm is None:
            continue
        gain, bias = norm.gain_and_bias()
        first, last = (layer.down, layer.up) if isinstance(layer, LowRank) else (layer, layer)
        constant = first.weight.double() @ bias
        if first is not last:
            constant = last.weight.double() @ constant
        last.bias.add_(constant.to(last.bias))
        first.weight.mul_(gain.to(first.weight))
    return result.eval()
