"""Backbones by timm's names, with weights from a file of the user's or random. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.models.files import FloatModel
from mpcvit.models.timm_efficientformer import efficientformer_from_timm
from mpcvit.models.timm_vit import vit_from_timm

prepare_torchvision()

from timm import create_model, is_model, list_models  # noqa: E402
from timm.data import create_transform, resolve_data_config  # noqa: E402
from timm.models.efficientformer import EfficientFormer as TimmEfficientFormer  # noqa: E402
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer  # noqa: E402

#: Makes our model of one of timm's, by its exact class; a ViT knows its image size, the others are told.
_IMPORTERS: dict[type[nn.Module], Callable[[Any, int], FloatModel]] = {
    TimmVisionTransformer: lambda source, image_size: vit_from_timm(source),
    TimmEfficientFormer: efficientformer_from_timm,
}

#: What turns a checkpoint of PyTorch's into a safetensors file.
_CONVERT = (
    "where you trust the file, run: import torch, safetensors.torch as s; state = torch.load(FILE, weights_only=True); "
    "s.save_file(state.get('model', state), 'model.safetensors')"
)


@dataclass(frozen=True)
class Backbone:
    """A model of timm's as one of ours, and what its pictures go through.

    Attributes:
        model: in eval mode.
        prepare: resizes, crops and normalises a picture: float32 [channels, size, size].
        mean, std: per channel, for pixels in [0, 1]; ``prepare`` ends with them.
    """

    model: FloatModel
    prepare: Callable[[Image.Image], torch.Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def import_timm(
    name: str, weights: Path | None = None, *, image_size: int | None = None, classes: int | None = None
) -> Backbone:
    """The model that timm calls ``name``.

    Args:
        name: as ``timm.list_models`` writes it, e.g. ``deit_tiny_patch16_224``, with or without the tag of its weights.
        weights: a safetensors file with timm's names of tensors; None for random ones, which depend on torch's seed.
        image_size: side of the pictures, pixels; None for what the model was made for.
        classes: number of labels; None for those of the file, or 1000.

    Raises:
        ConfigError: timm has no such model, or it has parts that ours have not.
        ModelFileError: the file cannot be read or belongs to another model.
    """
    tensors = None if weights is None else _read(weights)
    if tensors is not None and classes is None and "head.weight" in tensors:
        classes = len(tensors["head.weight"])
    source = _create(name, image_size, classes)
    if tensors is not None:
        try:
            source.load_state_dict(tensors)
        except RuntimeError as error:
            raise ModelFileError(
                f"weights of another model than {name} in {weights}: {_first_lines(error)}",
                expected="a tensor of the right shape for every parameter",
                remedy="Name the model that the file belongs to, with its image size and number of classes.",
            ) from error
    data = resolve_data_config({}, model=source)
    model = from_timm(source, image_size or data["input_size"][-1])
    size = model.config.image_size
    prepare = create_transform(**{**data, "input_size": (model.config.channels, size, size)}, is_training=False)
    return Backbone(model, prepare, tuple(data["mean"]), tuple(data["std"]))


def from_timm(source: nn.Module, image_size: int = 224) -> FloatModel:
    """Our model that computes what ``source``, a model of timm's, computes; in eval mode.

    Args:
        image_size: side of the pictures, pixels, for models that do not say.

    Raises:
        ConfigError: the model, or a part of it, has no counterpart; the message names it.
    """
    if type(source) not in _IMPORTERS:
        raise ConfigError(
            f"a model of the kind {type(source).__name__}",
            expected=f"one of timm's kinds {', '.join(sorted(kind.__name__ for kind in _IMPORTERS))}",
            remedy="Choose a model of one of these kinds: vit_*, deit_* or efficientformer_*.",
        )
    return _IMPORTERS[type(source)](source, image_size)


def _create(name: str, image_size: int | None, classes: int | None) -> nn.Module:
    if not is_model(name.partition(".")[0]) or ":" in name:  # names with a colon are addresses of downloads
        similar = list_models(f"*{name.partition('_')[0]}*")[:5]
        raise ConfigError(
            f"a model called '{name}'",
            expected=f"a name that timm knows{', such as ' if similar else ''}{', '.join(similar)}",
            remedy="Correct the name; timm.list_models() has all of them.",
        )
    options: dict[str, Any] = {"img_size": image_size, "num_classes": classes}
    try:
        source: nn.Module = create_model(name, pretrained=False, **{k: v for k, v in options.items() if v is not None})
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"'{name}' with image size {image_size} and {classes} classes: {_first_lines(error)}",
            expected="a size that the model can have",
            remedy="Leave --image-size and --classes out, or correct them.",
        ) from error
    return source


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix != ".safetensors":
        raise ModelFileError(
            f"weights in {path.name}",
            expected="a safetensors file with timm's names of tensors",
            remedy=f"Take the .safetensors file that model hubs offer beside it, or convert it: {_CONVERT}",
        )
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{type(error).__name__} reading {path}", expected="a safetensors file", remedy="Fetch the file again."
        ) from error
    return tensors


def _first_lines(error: Exception) -> str:
    """The beginning of a message that may list hundreds of tensors."""
    text = " ".join(str(error).split())
    return text if len(text) < 300 else f"{text[:300]} .."
