"""Small models for tests."""

from __future__ import annotations

import torch

from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.vit import VisionTransformer
from tests.support.columns import configured

TINY = configured(
    image_size=8,
    patch_size=4,
    classes=3,
    dim=16,
    hidden=24,
    heads=((AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING),),
    activation=(Activation.RELU,),
)


def make_model(config: ViTConfig, seed: int = 0, gain: float = 3.0) -> VisionTransformer:
    """A model with weights large enough that every op sees values of ordinary size."""
    torch.manual_seed(seed)
    model = VisionTransformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain) if parameter.ndim == 2 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model
