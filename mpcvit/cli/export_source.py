"""What ``mpcvit model export`` exports: a trained folder, or a backbone of timm's; with pictures to calibrate on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mpcvit.data.cifar10 import CIFAR10_MEAN, CIFAR10_STD, load_cifar10
from mpcvit.data.normalise import normalise
from mpcvit.data.prepared import load_prepared
from mpcvit.errors import ConfigError
from mpcvit.models.files import FloatModel, load_any_model
from mpcvit.models.timm_import import Backbone, import_timm

_TRAINED_PICTURES = 512
#: Pictures of 224 x 224 pixels take hundreds of times the memory of CIFAR's.
_TIMM_PICTURES = 32


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the user typed; None or False where nothing."""

    trained: Path | None = None
    timm: str | None = None
    weights: Path | None = None
    image_size: int | None = None
    classes: int | None = None
    data: Path | None = None
    noise: bool = False
    images: int | None = None

    def __post_init__(self) -> None:
        own = [self.weights, self.image_size, self.classes, self.noise or None]
        problems = [
            (
                (self.trained is None) == (self.timm is None),
                "neither a trained folder nor --timm" if self.timm is None else "a trained folder and --timm",
                "mpcvit model export FOLDER ..., or mpcvit model export --timm NAME ...",
            ),
            (
                self.timm is None and any(option is not None for option in own),
                "a trained folder with --weights, --image-size, --classes or --noise",
                "these with --timm only",
            ),
            (
                (self.data is None) != self.noise,
                "both --data and --noise" if self.noise else "no pictures to calibrate on",
                "--data FOLDER, or --noise to time random weights of --timm",
            ),
        ]
        for wrong, got, expected in problems:
            if wrong:
                raise ConfigError(got, expected=expected, remedy="Correct the options.")


@dataclass(frozen=True, repr=False)
class ExportSource:
    """A model and its calibration pictures.

    Attributes:
        images: normalised float32 [count, channels, size, size].
        labels: one name per class.
        mean, std: per channel, for pixels in [0, 1].
        facts: where weights, pictures and labels come from, in words.
    """

    model: FloatModel
    images: torch.Tensor
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    facts: dict[str, str]


def open_source(choice: Choice) -> ExportSource:
    """The model that ``choice`` names.

    Raises:
        ConfigError, ModelFileError: of the model.
        InputError: of the pictures.
    """
    if choice.timm is not None:
        torch.manual_seed(0)  # of random weights and of noise
        backbone = import_timm(choice.timm, choice.weights, image_size=choice.image_size, classes=choice.classes)
        images, labels, facts = _pictures(backbone, choice)
        weights = "random, seed 0" if choice.weights is None else str(choice.weights)
        return ExportSource(backbone.model, images, labels, backbone.mean, backbone.std, {"weights": weights, **facts})
    assert choice.trained is not None and choice.data is not None  # noqa: S101, PT018 - a choice is checked
    pictures = load_cifar10(choice.data, "train")
    calibration = pictures.spread(choice.images or _TRAINED_PICTURES).images
    return ExportSource(
        load_any_model(choice.trained),
        normalise(calibration, CIFAR10_MEAN, CIFAR10_STD),
        pictures.classes,
        CIFAR10_MEAN,
        CIFAR10_STD,
        {"weights": str(choice.trained), "calibration": str(choice.data), "labels": "the folder's classes"},
    )


def _pictures(backbone: Backbone, choice: Choice) -> tuple[torch.Tensor, tuple[str, ...], dict[str, str]]:
    """Calibration pictures, labels, and where they come from."""
    config, count = backbone.model.config, choice.images or _TIMM_PICTURES
    numbered = tuple(f"class{index}" for index in range(config.classes))
    if choice.data is None:
        pixels = torch.randint(0, 256, (count, config.image_size, config.image_size, config.channels))
        noise = normalise(pixels.to(torch.uint8).numpy(), backbone.mean, backbone.std)
        return noise, numbered, {"calibration": "noise, seed 0", "labels": "numbered"}
    found = load_prepared(choice.data, count, backbone.prepare)
    facts = {"calibration": str(choice.data)}
    if len(found.classes) == config.classes:
        return found.images, found.classes, {**facts, "labels": "the folder's classes"}
    counts = f"{config.classes} classes, the folder {len(found.classes)}"
    return found.images, numbered, {**facts, "labels": f"numbered: the model has {counts}"}
