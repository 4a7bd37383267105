"""Models with random weights, where numbers of ordinary size matter and what they say does not: prices and timings."""

from __future__ import annotations

import torch

from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer

#: By which noise is normalised, every channel.
NOISE_MEAN, NOISE_STD = 0.5, 0.25


@torch.no_grad()
def enliven(model: VisionTransformer) -> None:
    """Draw weights as lively as trained ones, so that an export finds bounds of ordinary size.

    Matrices have variance 1 / rows; queries and keys are scaled so that scores deviate by about 2. Draws from torch's
    default generator, parameter by parameter.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name.endswith("weight"):
            parameter.normal_(0.0, parameter.shape[1] ** -0.5)
        elif name in ("pos_embed", "cls_token", "registers", "prompts.base", "denoiser_embed"):
            parameter.normal_(0.0, 0.5)
        if name.endswith(("qkv.weight", "qkv.up.weight")):
            parameter[: 2 * len(parameter) // 3] *= 2**0.5


def noise(config: ViTConfig, count: int) -> torch.Tensor:
    """Return ``count`` pictures of random pixels as a model reads them, [count, channels, side, side].

    Draws from torch's default generator.
    """
    pixels = torch.randint(0, 256, (count, config.channels, config.image_size, config.image_size))
    return (pixels.float() / 255 - NOISE_MEAN) / NOISE_STD
