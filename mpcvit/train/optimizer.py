"""timm's optimiser and schedule of a configuration."""

from __future__ import annotations

import re
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

_BLOCK = re.compile(r"blocks\.(\d+)\.")
#: What the names of parameters before the blocks begin with.
_EMBEDDING = ("patch_embed.", "pos_embed", "cls_token", "registers", "prompts.")


def make_optimizer(model: nn.Module, config: TrainConfig, objective: nn.Module | None = None) -> torch.optim.Optimizer:
    """Return the optimiser of ``model``, and of what ``objective`` learns.

    No weight decay on vectors, on what ``model.no_weight_decay()`` names, and on :data:`ARCHITECTURE_PARAMETERS`, which
    moreover go to AdamW where the optimiser is a Muon. SPViT's selectors learn at ``config.selector_rate`` of the rate,
    and with ``config.layer_decay`` so do other parts, once there is a :func:`make_schedule`.
    """
    chosen = {name for name, _ in model.named_parameters() if name.rpartition(".")[2] in ARCHITECTURE_PARAMETERS}
    named: set[str] = getattr(model, "no_weight_decay", set)()
    groups = param_groups_weight_decay(
        model, config.weight_decay, no_weight_decay_list=named | chosen, fallback_list=chosen
    )
    if config.selector_rate != 1 or config.layer_decay != 1:
        groups = _by_rate(groups, _rates(model, config))
    if objective is not None:
        groups += param_groups_weight_decay(objective, config.weight_decay)
    optimizer: torch.optim.Optimizer = create_optimizer_v2(groups, opt=config.optimizer, lr=config.lr)
    return optimizer


def _rates(model: nn.Module, config: TrainConfig) -> dict[nn.Parameter, float]:
    """Return each parameter's share of the schedule's rate.

    Number the embedding 0, block n of N n + 1, and all behind the blocks N + 1: what has number i learns at
    layer_decay^(N + 1 - i) (BEiT, Bao et al. 2022). Parameters that blocks share count as the first one's.
    """
    selectors = [module for module in model.modules() if isinstance(module, SpvitReduction)]
    theirs = {parameter for selector in selectors for parameter in selector.parameters()}
    names = dict(model.named_parameters())
    last = 1 + max((int(found[1]) + 1 for found in map(_BLOCK.match, names) if found), default=0)
    rates = {}
    for name, parameter in names.items():
        found = _BLOCK.match(name)
        layer = int(found[1]) + 1 if found else 0 if name.startswith(_EMBEDDING) else last
        rates[parameter] = config.layer_decay ** (last - layer) * (config.selector_rate if parameter in theirs else 1.0)
    return rates


def _by_rate(groups: list[dict[str, Any]], rates: dict[nn.Parameter, float]) -> list[dict[str, Any]]:
    """Return ``groups`` split so that parameters of one group learn at one share of the schedule's rate."""
    apart = []
    for group in groups:
        for rate in sorted({rates[parameter] for parameter in group["params"]}, reverse=True):
            parameters = [parameter for parameter in group["params"] if rates[parameter] == rate]
            apart.append({**group, "params": parameters, "lr_scale": rate})
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
