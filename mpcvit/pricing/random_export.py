"""Exports of models with random weights: what they cost is what trained models cost."""

from __future__ import annotations

import torch

from mpcvit.export.builder import Precision
from mpcvit.export.exported import Exported
from mpcvit.export.vit import export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.random_weights import enliven, noise
from mpcvit.models.vit import VisionTransformer

_CALIBRATION_IMAGES = 4
#: How random models are exported. Bounds of noise need little margin; mpcvit.measure.random_models takes the same.
PRECISION = Precision(margin=1.5, calibrated=True)


def random_export(config: ViTConfig, precision: Precision = PRECISION) -> Exported:
    """Return a model with random weights, exported with ranges from noise; the same for the same configuration."""
    return export_vit(random_weights(config), random_images(config), precision)


def random_weights(config: ViTConfig) -> VisionTransformer:
    """Return a model with random weights, the same for the same configuration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VisionTransformer(config).eval()
        enliven(model)
    return model


def random_images(config: ViTConfig, count: int = _CALIBRATION_IMAGES) -> torch.Tensor:
    """Return normalised noise, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return noise(config, count)
