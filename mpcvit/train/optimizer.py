"""timm's optimiser and schedule of a configuration."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.models.reduction.spvit import SpvitReduction
from mpcvit.train.config import TrainConfig

prepare_torchvision()

from timm.optim import create_optimizer_v2, param_groups_weight_decay  # noqa: E402
from timm.scheduler import create_scheduler_v2  # noqa: E402

#: Parameters that choose an architecture. Decay would pull them towards the cheaper choice whatever the loss says
#: (MPCViT's alpha is 4-D, so timm's rule for vectors does not spare it), and Muon would mix the heads' values.
ARCHITECTURE_PARAMETERS = ("alpha", "beta", "gate")


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser of ``model``.

    No weight decay on vectors, on what ``model.no_weight_decay()`` names, and on :data:`ARCHITECTURE_PARAMETERS`, which
    moreover go to AdamW where the optimiser is a Muon. SPViT's selectors learn at ``config.selector_rate`` of the rate
    once there is a :func:`make_schedule`.
    """
    chosen = {name for name, _ in model.named_parameters() if name.rpartition(".")[2] in ARCHITECTURE_PARAMETERS}
    named: set[str] = getattr(model, "no_weight_decay", set)()
    groups = param_groups_weight_decay(
        model, config.weight_decay, no_weight_decay_list=named | chosen, fallback_list=chosen
    )
    if config.selector_rate != 1:
        groups = _with_selectors_apart(groups, model, config.selector_rate)
    optimizer: torch.optim.Optimizer = create_optimizer_v2(groups, opt=config.optimizer, lr=config.lr)
    return optimizer


def _with_selectors_apart(groups: list[dict[str, Any]], model: nn.Module, rate: float) -> list[dict[str, Any]]:
    """Return ``groups`` with selectors' parameters in groups of their own, at ``rate`` of the schedule's rate."""
    selectors = [module for module in model.modules() if isinstance(module, SpvitReduction)]
    theirs = {parameter for selector in selectors for parameter in selector.parameters()}
    apart = []
    for group in groups:
        for selects in (False, True):
            parameters = [parameter for parameter in group["params"] if (parameter in theirs) is selects]
            if parameters:
                apart.append({**group, "params": parameters, "lr_scale": rate if selects else 1.0})
    return apart


def make_schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int) -> Any:
    """Return timm's scheduler for ``steps`` steps per epoch: linear warm-up, then a cosine, step by step."""
    schedule, _ = create_scheduler_v2(
        optimizer,
        num_epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        warmup_lr=config.lr / 100 if config.warmup_lr is None else config.warmup_lr,
        warmup_prefix=config.warmup_prefix,
        min_lr=config.min_lr,
        cooldown_epochs=config.cooldown_epochs,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    return schedule
