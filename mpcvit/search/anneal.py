"""PriViT's annealed switching (Dhyani et al., TMLR 2024): a trained model gives up expensive operators one by one.

Nothing is trained anew. Every head gets a switch between its softmax and a cheaper kind, every token of every block one
between the activation and nothing. The loss is cross entropy, plus the divergence from the model as it was, plus an L1
term per group of switches. Whenever a group falls behind the pace at which it would meet its target in time, its term
grows by a tenth; once it meets it, its switches are made binary and stay. Then the model is fine-tuned. The source has
a switch per head and row; a head is what export can use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from mpcvit.data.image_set import ImageSet
from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.search.discretise import keep_largest, kept_count
from mpcvit.search.linearise import gated
from mpcvit.search.proxy import quiet
from mpcvit.search.relaxed import GROUPS, Group, Penalised, RelaxedViT, hardened
from mpcvit.search.supernet import heads_chosen
from mpcvit.store.trained import CONFIG_FILE, load_model, save_model
from mpcvit.train.config import TrainConfig
from mpcvit.train.objectives.objective import label_loss
from mpcvit.train.objectives.teacher import Teacher
from mpcvit.train.trainer import fit

#: A switch at or below this is off.
THRESHOLD = 1e-3
_GROWTH = 1.1
_TEMPERATURE = 4.0
_RESULT_FOLDER = "hardened"


@dataclass(frozen=True)
class SelfDistillation:
    """CE(labels) + T^2 * KL(model as it was || model) at temperature T = 4."""

    teacher: Teacher
    smoothing: float = 0.0

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar."""
        logits, before = model(images).float(), self.teacher(images)[0].float()
        divergence = functional.kl_div(
            (logits / _TEMPERATURE).log_softmax(-1),
            (before / _TEMPERATURE).log_softmax(-1),
            reduction="batchmean",
            log_target=True,
        )
        return label_loss(logits, targets, self.smoothing) + _TEMPERATURE**2 * divergence


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """How switches are annealed.

    Attributes:
        training: of the switches; its epochs are how long there is to meet the targets.
        fine_tuning: of the model with binary switches.
        penalty: first weight of the L1 terms (PriViT: 1e-5 or 3e-5).
        warmup_epochs: epochs before the terms begin to grow.
        device: as ``fit`` takes it.
    """

    training: TrainConfig
    fine_tuning: TrainConfig
    penalty: float = 3e-5
    warmup_epochs: int = 5
    device: str = "auto"


def anneal(
    pretrained: VisionTransformer,
    relaxed: Callable[[], RelaxedViT],
    weights: Mapping[Group, list[list[float]]],
    mu: float,
    images: ImageSet,
    folder: Path,
    settings: Annealing,
    after_epoch: Callable[[str, int, Mapping[str, float]], None] = lambda stage, done, line: None,
) -> VisionTransformer:
    """Return ``pretrained`` with the share ``mu`` of its heads and activations, fine-tuned.

    An interrupted run continues.

    Args:
        relaxed: makes ``pretrained`` with switches.
        weights: of the L1 terms, per group and block.
        after_epoch: called with the stage (``anneal`` or ``tune``), epochs done and the log's line.
    """
    result = folder / _RESULT_FOLDER
    teacher = Teacher(pretrained)
    if not (result / CONFIG_FILE).exists():
        model = relaxed()
        _switch_off(model, weights, mu, images, folder / "switches", settings, teacher, after_epoch)
        save_model(hardened(model, _chosen(model)), result)
    student = load_model(result)
    with quiet(folder / "tuned"):
        fit(
            student,
            replace(settings.fine_tuning, model="annealed", architecture=student.config),
            images,
            folder / "tuned",
            objective=SelfDistillation(teacher, settings.fine_tuning.smoothing),
            device=settings.device,
            workers=0,
            after_epoch=lambda done, _, line: after_epoch("tune", done, line),
        )
    return student


def _switch_off(
    model: RelaxedViT,
    weights: Mapping[Group, list[list[float]]],
    mu: float,
    images: ImageSet,
    folder: Path,
    settings: Annealing,
    teacher: Teacher,
    after_epoch: Callable[[str, int, Mapping[str, float]], None],
) -> None:
    """Anneal until every group meets its target; what the time does not suffice for is cut off at the end."""
    model.penalties.fill_(settings.penalty)
    targets = {
        group: kept_count(sum(switch.numel() for switch in switches), mu) for group, switches in model.switches.items()
    }

    def pace(done: int, trained: nn.Module, line: Mapping[str, float]) -> None:
        for group, target in targets.items():
            step(model, group, target, done, settings)
        after_epoch("anneal", done, line)
        if all(model.is_frozen(group) for group in targets):
            raise _Met

    with quiet(folder), suppress(_Met):
        fit(
            model,
            replace(settings.training, model="switches", architecture=model.config),
            images,
            folder,
            objective=Penalised(
                model=model, base=SelfDistillation(teacher, settings.training.smoothing), weights=weights
            ),
            device=settings.device,
            workers=0,
            after_epoch=pace,
            facts={"mu": mu},
        )
    model.cpu()
    for group, target in targets.items():
        if not model.is_frozen(group):
            model.freeze(group, keep_largest(model.switches[group], target))


def step(model: RelaxedViT, group: Group, target: int, done: int, settings: Annealing) -> None:
    """Do what PriViT does to a group after an epoch: freeze it at its target, or press harder if it is behind."""
    if model.is_frozen(group):
        return
    model.project()
    count, left = model.count(group, THRESHOLD), settings.training.total_epochs - done
    if count <= target:
        model.freeze(group, [(switch > THRESHOLD).tolist() for switch in model.switches[group]])
        return
    total = sum(switch.numel() for switch in model.switches[group])
    pace = total - (total - target) * done / max(done + left, 1)
    if done > settings.warmup_epochs and count > pace:
        model.penalties[GROUPS.index(group)] *= _GROWTH


def _chosen(model: RelaxedViT) -> ViTConfig:
    """Return the configuration of frozen switches."""
    config = model.config
    if model.gate_switches:
        config = gated(model, [(switch > THRESHOLD).tolist() for switch in model.gate_switches])
    if model.head_switches:
        heads = heads_chosen(model, [(switch > THRESHOLD).tolist() for switch in model.head_switches])
        config = config.with_blocks(heads=heads)
    return config


class _Met(Exception):
    """All targets are met."""
