"""Models of published sizes with random weights, for timing: seconds do not depend on the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mpcvit.errors import ConfigError
from mpcvit.export.builder import Precision
from mpcvit.export.vit import export_vit
from mpcvit.models.config import Activation, AttentionKind, ViTConfig
from mpcvit.models.files import save_model
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.model_folder import Description, ModelFolder

_CALIBRATION_IMAGES = 8
#: The same noise that calibrates is timed, so bounds need little margin.
_MARGIN = 1.5


def _vit(kind: AttentionKind, activation: Activation, *, depth: int, heads: int, **sizes: Any) -> ViTConfig:
    return ViTConfig(heads=((kind,) * heads,) * depth, activations=(activation,) * depth, **sizes)


def _cifar(kind: AttentionKind, activation: Activation) -> ViTConfig:
    """MPCViT's CIFAR size, vit_7_4_32."""
    return _vit(kind, activation, image_size=32, patch_size=4, classes=10, dim=256, hidden=512, depth=7, heads=4)


def _imagenet(**sizes: Any) -> ViTConfig:
    """224 x 224 pixels, patches of 16, softmax and GELU."""
    return _vit(AttentionKind.SOFTMAX, Activation.GELU, image_size=224, patch_size=16, **sizes)


RANDOM_MODELS = {
    "vit_7_4_32.softmax.gelu": _cifar(AttentionKind.SOFTMAX, Activation.GELU),
    "vit_7_4_32.relu_softmax.relu": _cifar(AttentionKind.RELU_SOFTMAX, Activation.RELU),
    "vit_7_4_32.scaling.identity": _cifar(AttentionKind.SCALING, Activation.IDENTITY),
    "deit_tiny": _imagenet(classes=1000, dim=192, hidden=768, depth=12, heads=3, class_token=True),
    # one block of ViT-B/16 on 196 tokens, with patch embedding and a small head
    "vit_base_block": _imagenet(classes=10, dim=768, hidden=3072, depth=1, heads=12),
}


def random_model(name: str) -> VisionTransformer:
    """The model called ``name``, always with the same weights.

    Matrices have variance 1 / rows; queries and keys are scaled so that scores deviate by about 2.

    Raises:
        ConfigError: there is none.
    """
    if name not in RANDOM_MODELS:
        raise ConfigError(
            f"model '{name}'", expected=f"one of {', '.join(RANDOM_MODELS)}", remedy="Choose one of these."
        )
    config = RANDOM_MODELS[name]
    torch.manual_seed(0)
    model = VisionTransformer(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 2 and key.endswith("weight"):
                parameter.normal_(0.0, parameter.shape[1] ** -0.5)
            elif key in ("pos_embed", "cls_token"):
                parameter.normal_(0.0, 0.5)
        for block in model.blocks:
            block.attn.qkv.weight[: 2 * config.dim] *= 2**0.5  # type: ignore[union-attr, index, operator]
    return model


def export_random(name: str, folder: Path) -> None:
    """Export the model called ``name`` to ``folder``, calibrated on noise."""
    model = random_model(name)
    config = model.config
    noise = torch.randint(0, 256, (_CALIBRATION_IMAGES, config.channels, config.image_size, config.image_size))
    images = (noise.float() / 255 - 0.5) / 0.25
    exported = export_vit(model, images, Precision(margin=_MARGIN))
    channels = (0.5,) * config.channels, (0.25,) * config.channels
    labels = tuple(f"class{index}" for index in range(config.classes))
    description = Description(name=name, version="random", labels=labels, mean=channels[0], std=channels[1])
    ModelFolder(description, exported.program, exported.weights).save(folder)
    save_model(model, folder)
