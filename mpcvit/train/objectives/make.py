"""From an objective's name to the objective."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.train.config import ObjectiveName, TrainConfig
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.objectives.distillation import Distillation
from mpcvit.train.objectives.mpcformer import HiddenStates, SoftLabels
from mpcvit.train.objectives.norm_distillation import NormDistillation
from mpcvit.train.objectives.objective import Loss
from mpcvit.train.objectives.reconstruction import Reconstruction
from mpcvit.train.objectives.self_distillation import ViewDistillation
from mpcvit.train.objectives.teacher import Teacher
from mpcvit.train.objectives.weight_distillation import WeightDistillation

_TAUGHT: dict[ObjectiveName, Callable[[TrainConfig, Teacher], Loss]] = {
    ObjectiveName.DISTILLATION: lambda config, teacher: Distillation(
        teacher, token_weight=config.token_weight, smoothing=config.smoothing
    ),
    ObjectiveName.MPCFORMER_HIDDEN: lambda _, teacher: HiddenStates(teacher),
    ObjectiveName.MPCFORMER_LOGITS: lambda _, teacher: SoftLabels(teacher),
    ObjectiveName.WEIGHT_DISTILLATION: lambda _, teacher: WeightDistillation(teacher),
    ObjectiveName.NORM_DISTILLATION: lambda _, teacher: NormDistillation(teacher),
    ObjectiveName.SELF_DISTILLATION: lambda config, teacher: ViewDistillation(teacher, config.self_distillation),
}
_ALONE: dict[ObjectiveName, Callable[[TrainConfig, ViTConfig], Loss]] = {
    ObjectiveName.CROSS_ENTROPY: lambda config, _: CrossEntropy(config.smoothing),
    ObjectiveName.RECONSTRUCTION: lambda config, student: Reconstruction(config.reconstruction, student),
    ObjectiveName.STORED_LOGITS: lambda _, __: CrossEntropy(),  # the targets are the teacher's distributions
}


def make_objective(config: TrainConfig, student: ViTConfig, teacher: nn.Module | None) -> Loss:
    """Return the objective that ``config`` names, for a student; ``teacher`` is put in eval mode and frozen.

    Raises:
        ConfigError: it needs a teacher and there is none, or it does not go with the student.
    """
    if config.objective in _ALONE:
        return _ALONE[config.objective](config, student)
    if teacher is None:
        raise ConfigError(
            f"the objective '{config.objective}' without a teacher",
            expected="a trained model to learn from",
            remedy="Give its folder with --teacher.",
        )
    return _TAUGHT[config.objective](config, Teacher(teacher))
