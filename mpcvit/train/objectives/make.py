"""From an objective's name to the objective."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.train.config import ObjectiveName, TrainConfig
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.objectives.distillation import Distillation
from mpcvit.train.objectives.mpcformer import HiddenStates, SoftLabels
from mpcvit.train.objectives.objective import Loss
from mpcvit.train.objectives.teacher import Teacher
from mpcvit.train.objectives.weight_distillation import WeightDistillation

_TAUGHT: dict[ObjectiveName, Callable[[TrainConfig, Teacher], Loss]] = {
    ObjectiveName.DISTILLATION: lambda config, teacher: Distillation(
        teacher, token_weight=config.token_weight, smoothing=config.smoothing
    ),
    ObjectiveName.MPCFORMER_HIDDEN: lambda _, teacher: HiddenStates(teacher),
    ObjectiveName.MPCFORMER_LOGITS: lambda _, teacher: SoftLabels(teacher),
    ObjectiveName.WEIGHT_DISTILLATION: lambda _, teacher: WeightDistillation(teacher),
}


def make_objective(config: TrainConfig, teacher: nn.Module | None) -> Loss:
    """Return the objective that ``config`` names; ``teacher`` is put in eval mode and frozen.

    Raises:
        ConfigError: it needs a teacher and there is none.
    """
    if config.objective not in _TAUGHT:
        return CrossEntropy(config.smoothing)
    if teacher is None:
        raise ConfigError(
            f"the objective '{config.objective}' without a teacher",
            expected="a trained model to learn from",
            remedy="Give its folder with --teacher.",
        )
    return _TAUGHT[config.objective](config, Teacher(teacher))
