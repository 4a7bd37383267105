"""From a configuration and pictures to a trained model in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.data.catalogue import data_set
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import ConfigError
from mpcvit.models import presets  # noqa: F401  # registers the models with timm
from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.codec import plain
from mpcvit.store.trained import load_model, model_digest
from mpcvit.train.batches import check_enough
from mpcvit.train.calibrate_quads import calibrate_quads
from mpcvit.train.config import ObjectiveName, Start, TrainConfig
from mpcvit.train.objectives.make import make_objective
from mpcvit.train.replica import joined
from mpcvit.train.stored_logits import StoredLogits
from mpcvit.train.trainer import AfterEpoch, fit

prepare_torchvision()

from timm import create_model  # noqa: E402
from timm.utils import random_seed  # noqa: E402

#: Fields of a configuration that determine which pictures are learnt from, and how they are augmented.
_PICTURES = (
    "data",
    "seed",
    "validation",
    "batch_size",
    "pipeline",
    "crop_scale",
    "auto_augment",
    "erasing",
    "mixup",
    "cutmix",
    "mixup_epochs",
)
#: Training pictures that activations are calibrated on.
_CALIBRATION_PICTURES = 64


def train(
    config: TrainConfig,
    images: ImageSet,
    folder: Path,
    *,
    teacher: Path | None = None,
    start_from: Path | None = None,
    teacher_logits: Path | None = None,
    device: str = "auto",
    workers: int = 1,
    after_epoch: AfterEpoch | None = None,
    facts: Mapping[str, Any] | None = None,
) -> VisionTransformer:
    """Return the model that ``config`` describes, trained; :func:`mpcvit.train.trainer.fit` says what ``folder`` gets.

    A run that ``config.before`` puts first goes to ``folder/before``.

    Args:
        images: the training set.
        teacher: folder of the trained model that distillation learns from.
        start_from: folder of a model, such as a compressed one, whose architecture and weights take the place of those
            that ``config`` begins with, in all stages. Where its last tokens cannot be compared with the teacher's,
            because there are fewer of them or of another width, distillation compares answers alone.
        teacher_logits: folder of a teacher's answers, for the objective ``stored_logits``; those that are missing are
            asked of ``teacher`` and written.
        after_epoch: as :func:`mpcvit.train.trainer.fit` takes it; not called in the run that comes first.
        facts: more to note in ``train.json``; must be the same when a run is continued.

    Raises:
        ConfigError: the configuration, the pictures, the teacher and the folder do not fit together.
        InputError: there are too few pictures.
        ModelFileError: there is no teacher, or nothing to start from, in its folder.
    """
    check_enough(config, images)
    with joined(device):  # one process group for all stages
        taught_by = None if teacher is None else load_model(teacher)
        begun = None if start_from is None else load_model(start_from)
        if begun is not None:
            config = starting_from(begun, config, taught_by)
        model = build_model(config, len(images.classes))
        if begun is None:
            begin(model, config, taught_by, images)
        else:
            take_over(begun, model)
        objective = make_objective(config, model.config, taught_by)
        if config.before is not None:
            earlier = train(
                config.before,
                images,
                folder / "before",
                teacher=teacher,
                start_from=start_from,
                teacher_logits=None if teacher_logits is None else teacher_logits / "before",
                device=device,
                workers=workers,
                facts=facts,
            )
            take_over(earlier, model)
        known = dict(facts or {})
        if teacher is not None:
            known["teacher"] = model_digest(teacher)
        if start_from is not None:
            known["start"] = model_digest(start_from)
        fit(
            model,
            config,
            images,
            folder,
            objective=objective,
            device=device,
            workers=workers,
            after_epoch=after_epoch,
            facts=known,
            stored=_stored(config, images, teacher_logits, taught_by, known, workers),
        )
    return model


def _stored(
    config: TrainConfig,
    images: ImageSet,
    folder: Path | None,
    teacher: nn.Module | None,
    known: Mapping[str, Any],
    workers: int,
) -> StoredLogits | None:
    """Return the answers that the objective ``stored_logits`` learns from; None for other objectives."""
    if config.objective is not ObjectiveName.STORED_LOGITS:
        return None
    if folder is None:
        raise ConfigError(
            "the objective 'stored_logits' without a folder of answers",
            expected="a folder that holds a teacher's answers, or is to hold them",
            remedy="Give it with --teacher-logits.",
        )
    digest = hashlib.sha256(images.images.tobytes() + images.labels.tobytes()).hexdigest()
    fields = plain(config)
    identity = {name: fields[name] for name in _PICTURES}
    identity |= {"pictures": digest, "workers": workers, "torch": torch.__version__, "teacher": known.get("teacher")}
    return StoredLogits(folder, identity, teacher, config.stored_logits.top)


def build_model(config: TrainConfig, classes: int) -> VisionTransformer:
    """Return the model of ``config``, token hooks included, with its first weights, drawn under ``config.seed``.

    Raises:
        ConfigError: there is no such model, or its architecture has another number of classes, or takes no such hook.
    """
    architecture = preset_architecture(config.model, classes) if config.architecture is None else config.architecture
    if architecture.classes != classes:
        raise ConfigError(
            f"an architecture of {architecture.classes} classes for pictures of {classes}",
            expected="equal numbers of classes",
            remedy="Correct the architecture, or take the pictures that it is for.",
        )
    for hook in config.token_hooks:
        architecture = hook.extend(architecture)
    random_seed(config.seed)
    model = VisionTransformer(architecture, config.drop_path)
    for hook in config.token_hooks:
        hook.start(model)
    return model


def preset_architecture(name: str, classes: int) -> ViTConfig:
    """Return the architecture of the preset ``name`` in timm's registry.

    Raises:
        ConfigError: there is no such preset.
    """
    try:
        model: VisionTransformer = create_model(name, num_classes=classes)
    except RuntimeError as error:  # timm's word for an unknown name
        raise ConfigError(
            f"model '{name}'", expected="a preset of mpcvit.models.presets", remedy="Correct the name."
        ) from error
    return model.config


def starting_from(model: VisionTransformer, config: TrainConfig, teacher: VisionTransformer | None) -> TrainConfig:
    """Return ``config`` for ``model``'s architecture, with a token weight of 0 where tokens cannot be compared."""
    same = teacher is not None and _last_tokens(model.config) == _last_tokens(teacher.config)
    return replace(config, architecture=model.config, token_weight=config.token_weight if same else 0.0)


def _last_tokens(config: ViTConfig) -> tuple[int, int]:
    """Return (tokens, width) behind the last block; registers and prompts do not count."""
    return config.output_tokens.count - config.extra_tokens, config.dim


def begin(model: nn.Module, config: TrainConfig, teacher: nn.Module | None, images: ImageSet) -> None:
    """Give ``model`` the first weights that ``config.start`` asks for: its own, or the teacher's.

    Where the teacher has no coefficients for a quadratic activation, these are fitted to the activation that it has.

    Args:
        images: the training set, of which some pictures that are not held out show what activations read.

    Raises:
        ConfigError: the teacher's are asked for, and there is none.
    """
    if config.start == Start.FRESH:
        return
    if teacher is None:
        raise ConfigError(
            "a start from the teacher's weights without a teacher",
            expected="a trained model to start from",
            remedy="Give its folder.",
        )
    copy_matching(teacher, model)
    rest, _ = images.split(config.validation, config.seed)
    data = data_set(config.data)
    calibrate_quads(model, teacher, normalise(rest.spread(_CALIBRATION_PICTURES).images, data.mean, data.std))


def take_over(source: VisionTransformer, target: VisionTransformer) -> None:
    """Give ``target`` all weights of ``source``; what it has besides stays.

    Raises:
        ConfigError: a weight of ``source`` has no place in ``target``.
    """
    lost = sorted(set(source.state_dict()) - set(copy_matching(source, target)))
    if lost:
        raise ConfigError(
            f"weights without a place: {', '.join(lost[:3])}",
            expected="an architecture that has all parts of the model that it begins with, in their sizes",
            remedy="Give stages the same architecture, or later ones more; linformer heads take no more tokens.",
        )


def copy_matching(source: nn.Module, target: nn.Module) -> list[str]:
    """Copy ``source``'s parameters and buffers to those of ``target`` with equal names and shapes; their names."""
    theirs = source.state_dict()
    ours = target.state_dict()
    names = [name for name in ours if name in theirs and theirs[name].shape == ours[name].shape]
    target.load_state_dict({name: theirs[name] for name in names}, strict=False)
    return names
