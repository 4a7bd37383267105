"""Backbones by timm's names, with weights from a file of the user's or random. Nothing is downloaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
from mpcvit.models.backbones import FloatModel
from mpcvit.models.timm_efficientformer import efficientformer_from_timm
from mpcvit.models.timm_vit import vit_from_timm
from mpcvit.store.weights_file import misfit, not_floats, require_sound, unwrapped

prepare_torchvision()

from timm import create_model, is_model, list_models  # noqa: E402
from timm.data import create_transform, resolve_data_config  # noqa: E402
from timm.models.deit import VisionTransformerDistilled as TimmVisionTransformerDistilled  # noqa: E402
from timm.models.efficientformer import EfficientFormer as TimmEfficientFormer  # noqa: E402
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer  # noqa: E402

#: Makes our model of one of timm's, by its exact class; a ViT knows its image size, the others are told.
_IMPORTERS: dict[type[nn.Module], Callable[[Any, int], FloatModel]] = {
    TimmVisionTransformer: lambda source, image_size: vit_from_timm(source),
    TimmEfficientFormer: efficientformer_from_timm,
}

#: Where pictures enter.
_FIRST = {"patch_embed.proj.weight", "stem.conv1.weight"}

_PLAIN_DEIT = "Take the model and the weights without distillation, such as deit_tiny_patch16_224 and its own file."

#: What turns a checkpoint of PyTorch's into a safetensors file.
_CONVERT = (
    "where you trust the file, run: import torch, safetensors.torch as s; state = torch.load(FILE, weights_only=True); "
    "s.save_file(state.get('model', state.get('state_dict', state)), 'model.safetensors')"
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
    """Return the model that timm calls ``name``.

    Args:
        name: as ``timm.list_models`` writes it, e.g. ``deit_tiny_patch16_224``, with or without the tag of its weights.
        weights: a safetensors file with timm's names of tensors; None for random ones, which depend on torch's seed.
        image_size: side of the pictures, pixels; None for what the model was made for.
        classes: number of labels; None for those of the file, or 1000.

    Raises:
        ConfigError: timm has no such model, or it has parts that ours have not.
        ModelFileError: the file cannot be read or belongs to another model.
    """
    return _opened(name, weights, image_size, classes, imported=True).imported()


@dataclass(frozen=True)
class TimmModel:
    """A model of timm's as it is.

    Attributes:
        module: in eval mode.
        image_size: side of the pictures, pixels; models that know theirs may have another.
        data: what timm says of pictures.
    """

    module: nn.Module
    image_size: int
    data: Mapping[str, Any]

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, for pixels in [0, 1]."""
        return tuple(self.data["mean"])

    @property
    def std(self) -> tuple[float, ...]:
        """As :attr:`mean`."""
        return tuple(self.data["std"])

    def prepare(self, size: int) -> Callable[[Image.Image], torch.Tensor]:
        """Return what makes a picture float32 [channels, size, size], normalised."""
        options = {**self.data, "input_size": (self.data["input_size"][0], size, size)}
        transform: Callable[[Image.Image], torch.Tensor] = create_transform(**options, is_training=False)
        return transform

    def imported(self) -> Backbone:
        """Return it as one of our models.

        Raises:
            ConfigError: a part of it has no counterpart.
        """
        model = from_timm(self.module, self.image_size)
        return Backbone(model, self.prepare(model.config.image_size), self.mean, self.std)


def open_timm(
    name: str, weights: Path | None = None, *, image_size: int | None = None, classes: int | None = None
) -> TimmModel:
    """Return the model that timm calls ``name``, of whatever kind; arguments and errors as :func:`import_timm`."""
    return _opened(name, weights, image_size, classes, imported=False)


def _opened(name: str, weights: Path | None, image_size: int | None, classes: int | None, imported: bool) -> TimmModel:
    """Return timm's model with its weights.

    Args:
        imported: refuse kinds that ours have not, before weights are compared.
    """
    tensors = None if weights is None else _read(weights)
    source = _create(name, image_size, _classes(tensors, classes))
    if imported:
        _importer(source)
    if tensors is not None and weights is not None:
        _load(source, tensors, f"{name} in {weights}")
        require_sound(tensors, weights)
    data = resolve_data_config({}, model=source)
    return TimmModel(source.eval(), image_size or data["input_size"][-1], data)


def _classes(tensors: dict[str, torch.Tensor] | None, classes: int | None) -> int | None:
    """Return the number of labels: what was asked for, or that of the file, if it says."""
    if tensors is not None and classes is None and "head.weight" in tensors:
        return len(tensors["head.weight"])
    return classes


def from_timm(source: nn.Module, image_size: int = 224) -> FloatModel:
    """Return our model that computes what ``source``, a model of timm's, computes; in eval mode.

    Args:
        image_size: side of the pictures, pixels, for models that do not say.

    Raises:
        ConfigError: the model, or a part of it, has no counterpart; the message names it.
    """
    return _importer(source)(source, image_size)


def _importer(source: nn.Module) -> Callable[[Any, int], FloatModel]:
    kind = type(source)
    if kind in _IMPORTERS:
        return _IMPORTERS[kind]
    distilled = kind is TimmVisionTransformerDistilled
    raise ConfigError(
        f"a model of the kind {kind.__name__}{', a distilled DeiT with a second token and head' if distilled else ''}",
        expected=f"one of timm's kinds {', '.join(sorted(known.__name__ for known in _IMPORTERS))}",
        remedy=_PLAIN_DEIT
        if distilled
        else "Choose a model of one of these kinds: vit_*, deit_* or efficientformer_*.",
    )


def _create(name: str, image_size: int | None, classes: int | None) -> nn.Module:
    if not is_model(name.partition(".")[0]) or ":" in name:  # names with a colon are addresses of downloads
        similar = list_models(f"*{name.partition('_')[0]}*")[:5]
        raise ConfigError(
            f"a model called '{name}'",
            expected=f"a name that timm knows{', such as ' if similar else ''}{', '.join(similar)}",
            remedy="Correct the name; timm.list_models() has all of them.",
        )
    options: dict[str, Any] = {"img_size": image_size, "num_classes": classes}
    options = {option: value for option, value in options.items() if value is not None}
    try:
        source = _created(name, options)
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"'{name}' with image size {image_size} and {classes} classes: {_first_lines(error)}",
            expected="a size that the model can have",
            remedy="Leave --image-size and --classes out, or correct them.",
        ) from error
    return source


def _created(name: str, options: dict[str, Any]) -> nn.Module:
    """Return timm's model; those that take pictures of any size are not told one."""
    try:
        source: nn.Module = create_model(name, pretrained=False, **options)
    except TypeError as error:
        if "img_size" not in options or "img_size" not in str(error):
            raise
        source = create_model(name, pretrained=False, **{k: v for k, v in options.items() if k != "img_size"})
    return source


def _load(source: Any, tensors: dict[str, torch.Tensor], which: str) -> None:
    """Give ``source`` the weights ``tensors``, or say what they are of.

    Args:
        which: model and file, for messages.
    """
    expected = source.state_dict()
    if "dist_token" in tensors and "dist_token" not in expected:
        raise ModelFileError(
            f"weights of a distilled DeiT, with dist_token and head_dist, for {which}",
            expected="weights of a model with one class token and one head",
            remedy=_PLAIN_DEIT,
        )
    if wrong := misfit(expected, tensors):
        raise ModelFileError(
            f"weights of another model than {which}: {wrong}",
            expected="a tensor of the right shape for every parameter",
            remedy=_remedy(source, expected, tensors),
        )
    source.load_state_dict(tensors)


def _remedy(source: Any, expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> str:
    """Return what to do about weights that do not fit: the likeliest reason that can be seen."""
    differs = {name for name in expected if name in found and found[name].shape != expected[name].shape}
    absent = set(expected) - set(found)
    hint = _channels(expected, found)
    size = _image_size(source, found["pos_embed"]) if "pos_embed" in differs else None
    head = len(found["head.weight"]) if "head.weight" in differs else 0
    name = next(iter(expected))
    choices = (
        (bool(hint), hint),
        (len(absent) == len(expected), f"Save it with timm's names, such as {name}: the state_dict() of timm's model."),
        (bool(not_floats(expected, found)), "Take the weights from before they were quantized."),
        (size is not None, f"Add --image-size {size}, which the file is for, or name the model of the file."),
        (head not in (0, len(expected["head.weight"])), f"Leave --classes out: the head of the file has {head}."),
        (absent == {"head.weight", "head.bias"}, "Take a file with a classification head: this one has none."),
        (not absent and not differs, "Save the state_dict() of one model alone, or name the model with these tensors."),
    )
    likeliest = "Name the model that the file belongs to, with its image size and number of classes."
    return next((remedy for seen, remedy in choices if seen), likeliest)


def _channels(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> str:
    """Return what to do if the file is for pictures of other channels; else empty."""
    for name in _FIRST & set(expected) & set(found):
        got, wanted = found[name].shape, expected[name].shape
        if len(got) == len(wanted) and got[1] != wanted[1] and got[0] == wanted[0]:
            grey = f", or repeat {name} over three channels and divide it by 3" if got[1] == 1 else ""
            count = "1 channel" if got[1] == 1 else f"{got[1]} channels"
            return f"The file is for pictures of {count}, pictures here are RGB: take weights for RGB{grey}."
    return ""


def _image_size(source: Any, embedding: torch.Tensor) -> int | None:
    """Return the side of the pictures, pixels, that a position embedding [1, tokens, dim] of a ViT like ``source`` is
    for.
    """
    patches = getattr(source, "patch_embed", None)
    if patches is None or embedding.ndim != 3 or embedding.shape[2] != source.embed_dim:
        return None
    tokens = embedding.shape[1] - (source.pos_embed.shape[1] - patches.num_patches)
    side = math.isqrt(max(tokens, 0))
    return side * patches.patch_size[0] if side and side * side == tokens else None


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
            f"{type(error).__name__} reading {path}", expected="a safetensors file", remedy=_unreadable(path)
        ) from error
    return unwrapped(tensors, path)


def _unreadable(path: Path) -> str:
    """Return what to do about a file that is no safetensors file, by its beginning."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return "Correct the path."
    if start.startswith((b"PK", b"\x80")):
        return f"It is a checkpoint of PyTorch's under another name. Convert it: {_CONVERT}"
    if b"git-lfs" in start:
        return "It is a pointer of Git LFS: run 'git lfs pull' where it is from, and copy the file again."
    return "Fetch the file again."


def _first_lines(error: Exception) -> str:
    """Return the beginning of a message that may list hundreds of tensors."""
    text = " ".join(str(error).split())
    return text if len(text) < 300 else f"{text[:300]} .."
