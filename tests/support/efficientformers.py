"""Small EfficientFormers in which every parameter matters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mpcvit.models.efficientformer import EfficientFormer, EfficientFormerConfig
from mpcvit.store.codec import from_document, to_document
from tests.support.images import of_pixels

#: Grids of 6 x 6, then 3 x 3.
SMALL = EfficientFormerConfig(
    image_size=24,
    classes=4,
    depths=(1, 2),
    widths=(4, 6),
    hidden=(6, 8),
    attention_blocks=1,
    heads=2,
    key_dim=3,
    value_dim=5,
)


def stir(model: nn.Module, seed: int = 0) -> None:
    """Move every parameter, layer scales and statistics of batch norms away from where training begins."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            width = parameter[0].numel() if parameter.ndim > 1 else 1
            deviation = width**-0.5 if parameter.ndim > 1 else 0.2
            parameter.add_(torch.randn_like(parameter) * deviation)
            if "scale" in name or "gamma" in name:
                parameter.add_(0.5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)


def make_efficientformer(config: EfficientFormerConfig = SMALL, **fields: Any) -> EfficientFormer:
    """A model of ``config`` with ``fields`` replaced."""
    model = EfficientFormer(from_document(EfficientFormerConfig, {**to_document(config), **fields})).eval()
    stir(model)
    return model


def make_pictures(config: EfficientFormerConfig, count: int) -> torch.Tensor:
    """Normalised pictures of one colour with noise; colours tell them apart."""
    torch.manual_seed(1)
    colours = 1.5 * torch.randn(count, config.channels, 1, 1)
    noise = torch.randn(count, config.channels, config.image_size, config.image_size)
    return of_pixels((colours + 0.5 * noise).clamp(-2, 2))
