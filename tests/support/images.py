"""Pictures for tests, as models and Programs read them."""

from __future__ import annotations

import torch

from mpcvit.export.normalisation import NOISE
from mpcvit.models.config import ViTConfig
from mpcvit.ring.fixed_point import Codes


def make_images(config: ViTConfig, count: int, seed: int = 1) -> torch.Tensor:
    """Normalised noise of 8-bit pixels."""
    torch.manual_seed(seed)
    return of_pixels(torch.randn(count, config.channels, config.image_size, config.image_size).clamp(-2, 2))


def of_pixels(images: torch.Tensor) -> torch.Tensor:
    """The nearest values to ``images``, normalised as noise is, that 8-bit pixels give."""
    return NOISE.floats(NOISE.pixels(images)).float()


def pixel_codes(images: torch.Tensor) -> Codes:
    """What a Program reads of normalised noise."""
    return NOISE.pixels(images).long().numpy()
