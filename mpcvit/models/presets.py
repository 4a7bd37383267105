"""Named models in timm's registry: importing this module makes ``timm.create_model("mpcvit_6_4_32")`` work.

Keyword arguments replace fields of the preset's :class:`ViTConfig`, e.g. ``classes=100``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mpcvit.compat import prepare_torchvision
from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.sizes import deit, vit_6_4_32, vit_7_4_32, vit_9_12_64
from mpcvit.models.vit import VisionTransformer

prepare_torchvision()

from timm.models import register_model  # noqa: E402

_RS, _SC = AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING


@register_model  # type: ignore[untyped-decorator]  # timm has no annotations
def mpcvit_6_4_32(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Return a ViT of 6 layers, patch 4, 32 x 32 pixels, width 128; half ReLU-softmax, half scaling heads; ReLU."""
    config = vit_6_4_32(_RS, Activation.RELU)
    config = config.with_blocks(heads=((_RS, _RS, _SC, _SC),) * config.depth)
    return _build(config, pretrained, **kwargs)


@register_model  # type: ignore[untyped-decorator]  # timm has no annotations
def mpcvit_7_4_32(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Return MPCViT's CIFAR size: 7 layers, patch 4, 32 x 32 pixels, width 256, 4 ReLU-softmax heads; GELU."""
    return _build(vit_7_4_32(_RS, Activation.GELU), pretrained, **kwargs)


@register_model  # type: ignore[untyped-decorator]  # timm has no annotations
def mpcvit_9_12_64(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Return MPCViT's Tiny-ImageNet size: 9 layers, patch 4, 64 x 64 pixels, width 192, 12 ReLU-softmax heads; GELU."""
    return _build(vit_9_12_64(_RS, Activation.GELU), pretrained, **kwargs)


@register_model  # type: ignore[untyped-decorator]  # timm has no annotations
def deit_tiny(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Return DeiT-Ti (Touvron et al. 2021): 12 layers, patch 16, 224 x 224 pixels, width 192, 3 softmax heads; GELU."""
    return _build(deit(dim=192, head_count=3), pretrained, **kwargs)


@register_model  # type: ignore[untyped-decorator]  # timm has no annotations
def deit_small(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Return DeiT-S: DeiT-Ti with width 384 and 6 heads."""
    return _build(deit(dim=384, head_count=6), pretrained, **kwargs)


@register_model  # type: ignore[untyped-decorator]  # timm has no annotations
def deit_base(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Return DeiT-B: DeiT-Ti with width 768 and 12 heads."""
    return _build(deit(dim=768, head_count=12), pretrained, **kwargs)


def _build(
    config: ViTConfig,
    pretrained: bool,
    *,
    drop_path_rate: float = 0.0,
    num_classes: int | None = None,
    pretrained_cfg: object = None,
    pretrained_cfg_overlay: object = None,
    cache_dir: object = None,
    **fields: Any,
) -> VisionTransformer:
    """Return the model.

    ``pretrained_cfg``, ``pretrained_cfg_overlay`` and ``cache_dir`` are passed by timm and not used.
    """
    if pretrained:
        raise ConfigError(
            "pretrained=True", expected="pretrained=False", remedy="Load trained models with mpcvit.store.trained."
        )
    if num_classes is not None:
        fields["classes"] = num_classes
    try:
        config = replace(config, **fields)
    except TypeError as error:
        raise ConfigError(
            f"model arguments {sorted(fields)}",
            expected="fields of mpcvit.models.config.ViTConfig",
            remedy="Correct the arguments.",
        ) from error
    return VisionTransformer(config, drop_path_rate)
