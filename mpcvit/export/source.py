"""What ``mpcvit model export`` exports: a trained folder, or a backbone of timm's; with pictures to calibrate on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mpcvit.data.catalogue import data_set
from mpcvit.data.cifar10 import CIFAR10
from mpcvit.data.class_folders import listed, part
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.data.prepared import PreparedImages, load_prepared
from mpcvit.data.typed_inputs import find_inputs, load_inputs
from mpcvit.errors import ConfigError, InputError, ModelFileError
from mpcvit.export.normalisation import Normalisation
from mpcvit.export.traced.factory import ModuleFacts, load_into, module_facts, module_from, traced_model
from mpcvit.export.traced.model import TracedModel
from mpcvit.inputs import InputSpec
from mpcvit.models.backbones import FloatModel
from mpcvit.models.timm_import import open_timm
from mpcvit.models.vit import VisionTransformer
from mpcvit.picture.fit import Fit, fitted
from mpcvit.store.exported import DESCRIPTION_FILE, Description
from mpcvit.store.trained import TRAIN_FILE, load_any_model
from mpcvit.wire.reveal import Disclosure

_TRAINED_PICTURES = 512
#: Pictures of 224 x 224 pixels take hundreds of times the memory of CIFAR's.
_LARGE_PICTURES = 32
_CHANNELS = 3
#: Pixels; what is wider is large.
_WIDEST_SMALL = 64


@dataclass(frozen=True, kw_only=True)
class SourceChoice:
    """What the user typed; None or False where nothing.

    Attributes:
        labels: names to use instead of the folder's classes; none for a model whose answers speak of no labels.
    """

    trained: Path | None = None
    timm: str | None = None
    module: str | None = None
    weights: Path | None = None
    image_size: int | None = None
    classes: int | None = None
    mean: str | None = None
    std: str | None = None
    data: Path | None = None
    noise: bool = False
    images: int | None = None
    skip_unreadable: bool = False
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        named = [self.trained, self.timm, self.module]
        modules = " and --module" if self.module is not None else ""
        several = f"a trained folder{' and --timm' if self.timm is not None else ''}{modules}"
        options = [self.weights, self.image_size, self.classes, self.noise or None]
        problems = [
            (
                all(name is None for name in named),
                "neither a trained folder nor --timm nor --module",
                "mpcvit model export FOLDER ..., --timm NAME ... or --module FILE:FACTORY ...",
            ),
            (
                sum(name is not None for name in named) > 1,
                several if self.trained is not None else "--timm and --module",
                "one of a trained folder, --timm NAME and --module FILE:FACTORY",
            ),
            (
                self.trained is not None and any(option is not None for option in options),
                "a trained folder with --weights, --image-size, --classes or --noise",
                "these with --timm or --module only",
            ),
            (
                self.module is None and (self.mean is not None or self.std is not None),
                "--mean or --std without --module",
                "these with --module only: other models say how their pictures are normalised",
            ),
            (
                self.module is not None and self.classes is not None,
                "--module with --classes",
                "a factory that makes a module with the number of classes that you want",
            ),
            (
                (self.data is None) != self.noise,
                "both --data and --noise" if self.noise else "no pictures to calibrate on",
                "--data FOLDER, or --noise to time random weights of --timm or --module",
            ),
        ]
        for wrong, got, expected in problems:
            if wrong:
                raise ConfigError(got, expected=expected, remedy="Correct the options.")


@dataclass(frozen=True, repr=False)
class ExportSource:
    """A model and its calibration pictures.

    Attributes:
        images: normalised float32 [count, channels, size, size], or of the shape of another input.
        labels: one name per class.
        mean, std: per channel, for pixels in [0, 1].
        facts: where weights, pictures, labels, mean and std come from, in words.
        description: what the folder says, where an exported model is in it: its name, and what it reveals.
        input: what the model reads, where that is no picture of 8-bit RGB pixels.
        unreadable: files that were left out, as they cannot be read as pictures.
        notices: what should be known of how pictures were read; sentences.
    """

    model: FloatModel | TracedModel
    images: torch.Tensor
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    facts: dict[str, str]
    description: Description | None = None
    unreadable: int = 0
    notices: tuple[str, ...] = ()
    input: InputSpec | None = None

    @property
    def read(self) -> dict[str, Any]:
        """How the pictures were read, for ``--json``."""
        return {"unreadable": self.unreadable, "notices": list(self.notices)}

    @property
    def normalisation(self) -> Normalisation:
        """That of ``images``."""
        return Normalisation(self.mean, self.std, 8 if self.input is None else self.input.bits)

    def describe(self, name: str, version: str, reveal: Disclosure) -> Description:
        """Return the description of an export under a public name."""
        return Description(
            name=name,
            version=version,
            labels=self.labels,
            mean=self.mean,
            std=self.std,
            reveal=reveal,
            input=self.input,
        )


def open_source(choice: SourceChoice) -> ExportSource:
    """Return the model that ``choice`` names.

    Raises:
        ConfigError, ModelFileError: of the model.
        InputError: of the pictures, which may be those of another data set.
    """
    if choice.trained is None:
        torch.manual_seed(0)  # of random weights and of noise
        return _timm(choice.timm, choice) if choice.timm is not None else _module(choice)
    assert choice.data is not None  # noqa: S101 - a choice is checked
    return _trained(choice.trained, choice.data, choice)


@dataclass(frozen=True)
class _Prepared:
    """A model, and what its pictures go through.

    Attributes:
        prepare: makes a picture fit: float32 [channels, size, size], normalised by ``mean`` and ``std``.
        input: what the model reads.
    """

    model: FloatModel | TracedModel
    prepare: Callable[[Image.Image], torch.Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input: InputSpec


def _timm(name: str, choice: SourceChoice) -> ExportSource:
    """Return a backbone of timm's: as one of our models if there is one, else traced."""
    options: dict[str, Any] = {"image_size": choice.image_size, "classes": choice.classes}
    opened = open_timm(name, choice.weights, **options)
    weights = "random, seed 0" if choice.weights is None else str(choice.weights)
    try:
        own = opened.imported()
    except ConfigError:  # it has parts that our models have not
        spec = InputSpec(shape=(_CHANNELS, opened.image_size, opened.image_size))
        model = traced_model(opened.module, *spec.shape)
        prepared = _Prepared(model, opened.prepare(opened.image_size), opened.mean, opened.std, spec)
        return _untrained(prepared, choice, {"traced": name, "weights": weights})
    size = own.model.config.image_size
    spec = InputSpec(shape=(own.model.config.channels, size, size))
    return _untrained(_Prepared(own.model, own.prepare, own.mean, own.std, spec), choice, {"weights": weights})


def _module(choice: SourceChoice) -> ExportSource:
    """Return the user's module, traced."""
    assert choice.module is not None  # noqa: S101 - a choice is checked
    module = module_from(choice.module)
    if choice.weights is not None:
        load_into(module, choice.weights, choice.module)
    facts = module_facts(module, choice.image_size, choice.mean, choice.std)
    model = traced_model(module, *facts.input.shape)
    weights = "those that the factory makes" if choice.weights is None else str(choice.weights)
    said = {"traced": choice.module, "weights": weights}
    rgb = facts.input.is_plain and facts.input.channels == _CHANNELS
    if not rgb and choice.data is not None:
        return _typed_module(model, facts, choice.data, choice, said)
    prepare = partial(_fitted, size=facts.input.size, mean=facts.mean, std=facts.std)
    source = _untrained(_Prepared(model, prepare, facts.mean, facts.std, facts.input), choice, said)
    return source if rgb else replace(source, input=facts.input)


def _typed_module(
    model: TracedModel, facts: ModuleFacts, data: Path, choice: SourceChoice, said: dict[str, str]
) -> ExportSource:
    """Return a module of other inputs than RGB pictures, with inputs of ``data``, read as clients' are."""
    classes, images, inputs = _typed_inputs(data, facts.input, Normalisation(facts.mean, facts.std), choice)
    labels, named = _labels_of(model.config.classes, classes)
    if choice.labels is not None:
        labels, named = choice.labels, "those asked for"
    said = {**said, "calibration": str(data), "labels": named}
    numbers = facts.mean, facts.std
    return ExportSource(
        model, images, labels, *numbers, said, None, inputs.unreadable, inputs.notices, input=facts.input
    )


def _untrained(backbone: _Prepared, choice: SourceChoice, facts: dict[str, str]) -> ExportSource:
    """Return a model that does not come from a folder, with the pictures of ``choice``."""
    found, labels, more = _pictures(backbone, choice)
    if choice.labels is not None:
        labels, more = choice.labels, {**more, "labels": "those asked for"}
    return ExportSource(
        backbone.model,
        found.images,
        labels,
        backbone.mean,
        backbone.std,
        {**facts, **more},
        unreadable=found.unreadable,
        notices=found.notices,
    )


def changeable(source: ExportSource) -> VisionTransformer | TracedModel:
    """Return the model of ``source``, as one that can be compressed or quantized.

    Raises:
        ConfigError: it is of another family.
    """
    if isinstance(source.model, VisionTransformer | TracedModel):
        return source.model
    raise ConfigError(
        f"a model of the family {source.model.config.family}",
        expected="a Vision Transformer, or a module that is traced",
        remedy="Name a Vision Transformer, or a module with --module; models of other families can be exported, not "
        "changed.",
    )


def open_calibrated(choice: SourceChoice, count: int | None, default: int) -> tuple[ExportSource, torch.Tensor]:
    """Return the model that ``choice`` names, and pictures at even distances to calibrate quantizers on.

    Args:
        count: how many, or None for ``default``, or as many as there are if less.

    Raises:
        ConfigError, ModelFileError: of the model.
        InputError: of the pictures, or there are fewer than ``count``.
    """
    wanted = count or default
    source = open_source(choice)
    found = source.images
    if wanted > len(found):
        found = open_source(replace(choice, images=wanted)).images
    if count is not None and count > len(found):
        raise InputError(
            f"--images {count} for a folder of {len(found)} pictures",
            expected=f"at most {len(found)}",
            remedy="Ask for fewer pictures, or point --data at more.",
        )
    wanted = min(wanted, len(found))
    return source, found[torch.arange(wanted) * len(found) // wanted]


def _trained(folder: Path, data: Path, choice: SourceChoice) -> ExportSource:
    """Return the trained model in ``folder``, exported before or not, with pictures of ``data``'s training part."""
    model = load_any_model(folder)
    description = Description.load(folder) if (folder / DESCRIPTION_FILE).exists() else None
    if description is not None and description.input is not None:
        return _typed(model, folder, data, choice, description, description.input)
    if model.config.channels != _CHANNELS:
        raise ConfigError(
            f"a model in {folder} for pictures of {model.config.channels} channel(s)",
            expected=f"{_CHANNELS}, for RGB pictures, as no {DESCRIPTION_FILE} names another input",
            remedy=f"Put a {DESCRIPTION_FILE} with 'input', 'mean' and 'std' beside the model, see docs/pictures.md.",
        )
    size = model.config.image_size
    mean, std, preprocessing = _preprocessing(folder, description)
    count = choice.images or _usual_count(size)
    prepare = partial(_fitted, size=(size, size), mean=mean, std=std)
    found = load_prepared(data / "train", count, prepare, skip_unreadable=choice.skip_unreadable)
    labels, named = choice.labels, "those asked for"
    if labels is None and description is not None:
        labels, named = description.labels, f"those of {DESCRIPTION_FILE}"
    if labels is None:
        labels, named = _folder_labels(found, model.config.classes), "the folder's classes"
    facts = {
        "weights": str(folder),
        "calibration": str(data),
        "labels": named,
        "preprocessing": preprocessing,
    }
    read = found.unreadable, found.notices, None if description is None else description.input
    return ExportSource(model, found.images, labels, mean, std, facts, description, *read)


def _typed(
    model: FloatModel, folder: Path, data: Path, choice: SourceChoice, description: Description, spec: InputSpec
) -> ExportSource:
    """Return the model in ``folder`` with inputs of ``data``'s training part, read as its description says."""
    size = model.config.image_size
    shape = (model.config.channels, size, size)
    if spec.shape != shape:
        raise ModelFileError(
            f"a model of inputs {list(shape)} in {folder}, described as {spec}",
            expected="an input of the model's shape",
            remedy=f"Correct 'input' in {DESCRIPTION_FILE}.",
        )
    _, images, inputs = _typed_inputs(data, spec, Normalisation(description.mean, description.std), choice)
    where = f"those of {DESCRIPTION_FILE}"
    facts = {"weights": str(folder), "calibration": str(data), "labels": where, "preprocessing": where}
    names = description.labels, description.mean, description.std
    return ExportSource(model, images, *names, facts, description, inputs.unreadable, inputs.notices, spec)


def _typed_inputs(
    data: Path, spec: InputSpec, normalisation: Normalisation, choice: SourceChoice
) -> tuple[tuple[str, ...], torch.Tensor, ImageSet]:
    """Return classes, normalised inputs at even distances of ``data``'s training part, and how they were read."""
    found = find_inputs(part(data, "train"), spec)
    count = min(choice.images or _usual_count(max(spec.size)), len(found.files))
    chosen = [number * len(found.files) // count for number in range(count)]
    inputs = load_inputs(found, chosen, spec, fit=Fit.MODEL, skip_unreadable=choice.skip_unreadable)
    of_bits = replace(normalisation, bits=spec.bits)
    return found.classes, of_bits.floats(torch.from_numpy(inputs.images.astype(np.int64))).float(), inputs


def _usual_count(size: int) -> int:
    """Return how many pictures of ``size`` pixels a side are calibrated on."""
    return _TRAINED_PICTURES if size <= _WIDEST_SMALL else _LARGE_PICTURES


def _preprocessing(folder: Path, description: Description | None) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Return mean, std, and where they come from: an earlier export, the data set of the training, or else CIFAR-10."""
    if description is not None:
        return description.mean, description.std, f"that of {DESCRIPTION_FILE}"
    path = folder / TRAIN_FILE
    if not path.exists():
        return CIFAR10.mean, CIFAR10.std, f"{CIFAR10.name}'s, for want of {DESCRIPTION_FILE} and {TRAIN_FILE}"
    try:
        name = json.loads(path.read_text())["config"].get("data", CIFAR10.name)  # without it before there was a choice
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{type(error).__name__} reading {path}",
            expected="the file that 'mpcvit train' wrote",
            remedy="Copy the folder again.",
        ) from error
    data = data_set(name)
    return data.mean, data.std, f"{data.name}'s, after {TRAIN_FILE}"


def _fitted(
    picture: Image.Image, size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]
) -> torch.Tensor:
    """Return float32 [channels, height, width], normalised; the largest part in the middle that has this shape."""
    return normalise(np.array(fitted(picture, size))[None], mean, std)[0]


def _folder_labels(found: PreparedImages, classes: int) -> tuple[str, ...]:
    """Return the names of the folder's classes, which are as many as the model's."""
    if len(found.classes) != classes:
        raise InputError(
            f"{len(found.classes)} classes of pictures for a model of {classes}: {listed(found.classes)}",
            expected="pictures of the data set that the model was trained on",
            remedy="Point --data at an image folder of it.",
        )
    return found.classes


def _pictures(backbone: _Prepared, choice: SourceChoice) -> tuple[PreparedImages, tuple[str, ...], dict[str, str]]:
    """Return calibration pictures, labels, and where they come from."""
    config, count, spec = backbone.model.config, choice.images or _LARGE_PICTURES, backbone.input
    if choice.data is None:
        numbered = _numbered(config.classes)
        *before, channels, height, width = (count, *spec.shape)
        pixels = torch.randint(0, spec.largest + 1, (*before, height, width, channels)).movedim(-1, -3)
        noise = Normalisation(backbone.mean, backbone.std, spec.bits).floats(pixels).float()
        return PreparedImages(noise, numbered), numbered, {"calibration": "noise, seed 0", "labels": "numbered"}
    found = load_prepared(choice.data, count, backbone.prepare, skip_unreadable=choice.skip_unreadable)
    labels, named = _labels_of(config.classes, found.classes)
    return found, labels, {"calibration": str(choice.data), "labels": named}


def _labels_of(count: int, classes: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return the names of a folder's classes, if there are as many as the model's ``count``, or numbers; and which."""
    if len(classes) == count:
        return classes, "the folder's classes"
    return _numbered(count), f"numbered: the model has {count} classes, the folder {len(classes)}"


def _numbered(classes: int) -> tuple[str, ...]:
    return tuple(f"class{index}" for index in range(classes))
