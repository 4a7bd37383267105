"""From a configuration and pictures to a trained model in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.data.catalogue import data_set
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import ConfigError
from mpcvit.models import presets  # noqa: F401  # registers the models with timm
from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.trained import load_model, model_digest
from mpcvit.train.batches import check_enough
from mpcvit.train.calibrate_quads import calibrate_quads
from mpcvit.train.config import Start, TrainConfig
from mpcvit.train.objectives.make import make_objective
from mpcvit.train.replica import joined
from mpcvit.train.trainer import AfterEpoch, fit

prepare_torchvision()

from timm import create_model  # noqa: E402
from timm.utils import random_seed  # noqa: E402

#: Training pictures that activations are calibrated on.
_CALIBRATION_PICTURES = 64


def train(
    config: TrainConfig,
    images: ImageSet,
    folder: Path,
    *,
    teacher: Path | None = None,
    start_from: Path | None = None,
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
            model.load_state_dict(begun.state_dict())
        objective = make_objective(config, taught_by)
        if config.before is not None:
            earlier = train(
                config.before,
                images,
                folder / "before",
                teacher=teacher,
                start_from=start_from,
                device=device,
                workers=workers,
                facts=facts,
            )
            model.load_state_dict(earlier.state_dict())
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
        )
    return model


def build_model(config: TrainConfig, classes: int) -> VisionTransformer:
    """Return the model of ``config`` with its first weights, drawn under ``config.seed``.

    Raises:
        ConfigError: there is no such model, or its architecture has another number of classes.
    """
    random_seed(config.seed)
    if config.architecture is None:
        try:
            model: VisionTransformer = create_model(config.model, num_classes=classes, drop_path_rate=config.drop_path)
        except RuntimeError as error:  # timm's word for an unknown name
            raise ConfigError(
                f"model '{config.model}'", expected="a preset of mpcvit.models.presets", remedy="Correct the name."
            ) from error
        return model
    architecture = config.architecture
    if architecture.classes != classes:
        raise ConfigError(
            f"an architecture of {architecture.classes} classes for pictures of {classes}",
            expected="equal numbers of classes",
            remedy="Correct the architecture, or take the pictures that it is for.",
        )
    return VisionTransformer(architecture, config.drop_path)


def starting_from(model: VisionTransformer, config: TrainConfig, teacher: VisionTransformer | None) -> TrainConfig:
    """Return ``config`` for ``model``'s architecture, with a token weight of 0 where tokens cannot be compared."""
    same = teacher is not None and _last_tokens(model.config) == _last_tokens(teacher.config)
    return replace(config, architecture=model.config, token_weight=config.token_weight if same else 0.0)


def _last_tokens(config: ViTConfig) -> tuple[int, int]:
    """Return (tokens, width) behind the last block."""
    return config.output_tokens.count, config.dim


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


def copy_matching(source: nn.Module, target: nn.Module) -> list[str]:
    """Copy ``source``'s parameters and buffers to those of ``target`` with equal names and shapes; their names."""
    theirs = source.state_dict()
    ours = target.state_dict()
    names = [name for name in ours if name in theirs and theirs[name].shape == ours[name].shape]
    target.load_state_dict({name: theirs[name] for name in names}, strict=False)
    return names
