"""Experts weights averaging (EWA, Huang et al. 2023): MLPs are mixtures of experts while they learn, and one after.

Its exact schedule is not public; a linear ramp is what its description says.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn
from torch.func import functional_call

from mpcvit.errors import ConfigError
from mpcvit.models.activation import HardGate
from mpcvit.models.kinds import GateAxis
from mpcvit.models.vit import Block, Mlp, VisionTransformer
from mpcvit.train.weight_hooks.weight_hook import WeightHook


class Experts(nn.Module):
    """Copies of an MLP. In training, tokens are dealt to them at random, equally many to each, without a router.

    Else it is one MLP, with the mean of their weights.
    """

    def __init__(self, mlp: Mlp, count: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(copy.deepcopy(mlp) for _ in range(count))

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return transformed tokens, of the shape of ``x_BND``."""
        if not self.training:
            mixed: torch.Tensor = functional_call(self.experts[0], self.mean(), (x_BND,))
            return mixed
        rows = x_BND.flatten(0, 1)
        order = torch.randperm(len(rows), device=rows.device)
        parts = order.tensor_split(len(self.experts))
        outputs = [expert(rows[part][None])[0] for expert, part in zip(self.experts, parts, strict=True)]
        dealt: torch.Tensor = torch.cat(outputs)[order.argsort()].reshape(x_BND.shape)
        return dealt

    def mean(self) -> dict[str, torch.Tensor]:
        """Return the mean of the experts' parameters and buffers, by their names in one of them."""
        states = [dict([*expert.named_parameters(), *expert.named_buffers()]) for expert in self.experts]
        return {
            name: torch.stack([state[name] for state in states]).mean(dim=0) if first.is_floating_point() else first
            for name, first in states[0].items()
        }

    @torch.no_grad()
    def draw_together(self, rate: float) -> None:
        """Move every expert's parameters by the share ``rate`` towards the mean of the others'."""
        others = len(self.experts) - 1
        for together in zip(*(expert.parameters() for expert in self.experts), strict=True):
            total = torch.stack([parameter.detach() for parameter in together]).sum(dim=0)
            for parameter in together:
                parameter.copy_(torch.lerp(parameter, (total - parameter) / others, rate))


@dataclass(frozen=True, kw_only=True)
class ExpertAveraging(WeightHook):
    """Experts in some blocks' MLPs. After every step they are drawn together, ever more; at the end they are averaged.

    What is trained costs as much as before, and what comes out is the ordinary architecture.

    Attributes:
        experts: copies of an MLP, at least 2.
        rate: share by which an expert moves towards the mean of the others after the last step, from 0 to 1; it grows
            linearly from 0.
        every: each how-manieth block has them, counted from the first; 2 are alternate blocks, as in the source.

    Raises:
        ConfigError: a number is out of its range.
    """

    kind: Literal["ewa"] = "ewa"
    experts: int = 4
    rate: float = 0.1
    every: int = 2

    def __post_init__(self) -> None:
        if self.experts < 2 or not 0 <= self.rate <= 1 or self.every < 1:
            raise ConfigError(
                f"{self.experts} experts in each {self.every}. block, drawn together by {self.rate}",
                expected="at least 2 experts, a block distance from 1, and a rate from 0 to 1",
                remedy="Correct 'weight_hooks' in the training configuration.",
            )

    def install(self, model: nn.Module) -> None:
        if not isinstance(model, VisionTransformer) or any(block.shares for block in model.config.blocks):
            raise ConfigError(
                f"experts for a {type(model).__name__}" + (" of shared weights" * isinstance(model, VisionTransformer)),
                expected="a Vision Transformer whose blocks have weights of their own",
                remedy="Train without the weight hook 'ewa'.",
            )
        for number, block in enumerate(model.blocks):
            if (number + 1) % self.every == 0:
                mlp = cast(Block, block).mlp
                if isinstance(mlp.gate, HardGate) and mlp.gate.gate.axis is GateAxis.TOKEN:
                    raise ConfigError(
                        f"experts in block {number}, whose activation depends on the token",
                        expected="an MLP that does the same to every token",
                        remedy="Train without the weight hook 'ewa', or without gates over tokens.",
                    )
                block.mlp = Experts(mlp, self.experts)

    def after_step(self, model: nn.Module, progress: float) -> None:
        for experts in _experts(model):
            experts.draw_together(self.rate * progress)

    @torch.no_grad()
    def collapse(self, model: nn.Module) -> None:
        for block in cast(VisionTransformer, model).blocks:
            if isinstance(block.mlp, Experts):
                mean = block.mlp.mean()
                block.mlp = block.mlp.experts[0]
                for name, tensor in [*block.mlp.named_parameters(), *block.mlp.named_buffers()]:
                    tensor.copy_(mean[name])


def _experts(model: nn.Module) -> Iterator[Experts]:
    return (module for module in model.modules() if isinstance(module, Experts))
