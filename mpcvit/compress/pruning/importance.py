"""How much a model would miss each head and each MLP channel, on calibration pictures without labels.

Taylor importance (Molchanov et al. 2019; NViT, CVPR 2023): let m multiply what a unit gives beyond its mean, which is
1 now and 0 when the unit goes and its mean stays. The mean over pictures of (d loss / d m)^2 / 2 is the Fisher
information's estimate of how far the model's answers move (in nats of divergence). The derivative is the sum of
gradient times weight over the weights that read the unit, as in NViT, for every picture by itself.

Labels are drawn from the model's own softmax. That is what the Fisher information asks for, and nothing else would do
without labels: at its own soft labels the loss has no gradient, and at its likeliest label none where it is sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from mpcvit.compress.fitting.calibration import BATCH, input_moments
from mpcvit.compress.pruning.prune import Given
from mpcvit.models.vit import Attention, VisionTransformer


@dataclass(frozen=True)
class Importance:
    """Per block, of its heads [heads] and channels [hidden], float64; comparable and additive within a model."""

    heads: list[torch.Tensor]
    channels: list[torch.Tensor]


def unit_moments(model: VisionTransformer, images: torch.Tensor) -> list[Given]:
    """Return per block, what its units give."""
    blocks = range(model.config.depth)
    names = [f"blocks.{number}.{layer}" for number in blocks for layer in ("attn.proj", "mlp.fc2")]
    moments = input_moments(model, names, images)
    return [Given(moments[f"blocks.{number}.attn.proj"], moments[f"blocks.{number}.mlp.fc2"]) for number in blocks]


def taylor_importance(model: VisionTransformer, images: torch.Tensor, given: list[Given], seed: int = 0) -> Importance:
    """Return the importance of every unit of ``model``, which is in eval mode.

    Args:
        given: what units give; its mean takes a unit's place when it goes.
        seed: of the labels.
    """
    rng = np.random.default_rng(seed)
    heads = [torch.zeros(len(block.heads), dtype=torch.float64) for block in model.config.blocks]
    channels = [torch.zeros(block.hidden, dtype=torch.float64) for block in model.config.blocks]
    for batch in images.split(BATCH):
        with torch.enable_grad(), _switched(model, len(batch), given) as switches:
            gradients = torch.autograd.grad(sampled_loss(model(batch), rng), switches)
        squares = [gradient.double().square().sum(0) / (2 * len(images)) for gradient in gradients]
        for number in range(model.config.depth):
            heads[number] += squares[2 * number]
            channels[number] += squares[2 * number + 1]
    return Importance(heads, channels)


def sampled_loss(logits: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return the sum over pictures of the cross entropy with labels drawn from the model's own softmax."""
    cumulative = logits.detach().double().softmax(1).cumsum(1)
    drawn = torch.from_numpy(rng.random((len(logits), 1))).to(cumulative)
    labels = (cumulative < drawn).sum(1).clamp(max=logits.shape[1] - 1)
    return nn.functional.cross_entropy(logits, labels, reduction="sum")


@contextmanager
def _switched(model: VisionTransformer, count: int, given: list[Given]) -> Iterator[list[torch.Tensor]]:
    """Yield ``model`` with switches at 1 before each block's proj and fc2, a row per picture: [count, heads or
    channels].
    """
    switches, hooks = [], []
    for number, block in enumerate(model.blocks):
        attention = cast(Attention, block.attn)
        for layer, units, mean in (
            (attention.proj, len(attention.kinds), given[number].heads.mean),
            (block.mlp.fc2, model.config.blocks[number].hidden, given[number].channels.mean),  # type: ignore[union-attr]
        ):
            switch = torch.ones(count, units, requires_grad=True)
            switches.append(switch)
            hooks.append(cast(nn.Module, layer).register_forward_pre_hook(_multiply(switch, mean.float())))
    try:
        yield switches
    finally:
        for hook in hooks:
            hook.remove()


def _multiply(switch: torch.Tensor, mean: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Return a hook that lets ``switch`` multiply what a layer reads beyond its mean."""

    def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x_BNI = inputs[0]
        by_input = switch.repeat_interleave(x_BNI.shape[-1] // switch.shape[1], dim=1)
        return mean + by_input[:, None] * (x_BNI - mean)

    return hook
