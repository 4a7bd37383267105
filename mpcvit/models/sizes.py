"""Sizes of models that presets, recipes, searches and benchmarks share, with one kind of heads and one activation.

Names say layers, heads and pixels. ``dataclasses.replace`` makes mixtures and variants.
"""

from __future__ import annotations

from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind


def vit_6_4_32(kind: AttentionKind, activation: Activation) -> ViTConfig:
    """Return what two CPU cores can train: 6 layers, 4 heads, patch 4, 32 x 32 pixels, width 128, 10 classes."""
    return ViTConfig.uniform(
        kind, activation, depth=6, head_count=4, image_size=32, patch_size=4, classes=10, dim=128, hidden=256
    )


def vit_7_4_32(kind: AttentionKind, activation: Activation) -> ViTConfig:
    """Return MPCViT's CIFAR size: 7 layers, 4 heads, patch 4, 32 x 32 pixels, width 256, 10 classes."""
    return ViTConfig.uniform(
        kind, activation, depth=7, head_count=4, image_size=32, patch_size=4, classes=10, dim=256, hidden=512
    )


def vit_9_12_64(kind: AttentionKind, activation: Activation) -> ViTConfig:
    """Return MPCViT's Tiny-ImageNet size: 9 layers, 12 heads, patch 4, 64 x 64 pixels, width 192, 200 classes."""
    return ViTConfig.uniform(
        kind, activation, depth=9, head_count=12, image_size=64, patch_size=4, classes=200, dim=192, hidden=384
    )


def deit(*, dim: int, head_count: int) -> ViTConfig:
    """Return DeiT (Touvron et al. 2021): 12 layers, patch 16, 224 x 224 pixels, 1,000 classes, class token.

    softmax, GELU.
    """
    return ViTConfig.uniform(
        AttentionKind.SOFTMAX,
        Activation.GELU,
        depth=12,
        head_count=head_count,
        image_size=224,
        patch_size=16,
        classes=1000,
        dim=dim,
        hidden=4 * dim,
        class_token=True,
    )
