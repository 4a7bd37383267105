"""Zeros that stay: what a compression pass made 0 in linear layers of blocks is 0 after every step, too (LPViT)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.vit import VisionTransformer
from mpcvit.train.weight_hooks.weight_hook import WeightHook

_BUFFER = "kept_zeros"


@dataclass(frozen=True, kw_only=True)
class KeptZeros(WeightHook):
    """Weights of blocks' linear layers that are 0 at the beginning of a run are 0 at its end.

    A run that is continued begins with the same weights, and so with the same zeros; checkpoints hold none of it.
    """

    kind: Literal["kept_zeros"] = "kept_zeros"

    def install(self, model: nn.Module) -> None:
        if not isinstance(model, VisionTransformer):
            raise ConfigError(
                f"zeros of a {type(model).__name__}",
                expected="a Vision Transformer with blocks",
                remedy="Train without the weight hook 'kept_zeros'.",
            )
        found = 0
        for layer in (module for module in model.blocks.modules() if isinstance(module, nn.Linear)):
            zeros = layer.weight.detach() == 0
            found += int(zeros.sum())
            layer.register_buffer(_BUFFER, zeros, persistent=False)
        if not found:
            raise ConfigError(
                "a model without a weight that is 0",
                expected="a model that a pass such as 'lpvit' made, named with --start-from",
                remedy="Train without the weight hook 'kept_zeros'.",
            )

    @torch.no_grad()
    def after_step(self, model: nn.Module, progress: float) -> None:
        for layer in _masked(model):
            layer.weight.masked_fill_(cast(torch.Tensor, getattr(layer, _BUFFER)), 0.0)

    def collapse(self, model: nn.Module) -> None:
        self.after_step(model, 1.0)
        for layer in _masked(model):
            delattr(layer, _BUFFER)


def _masked(model: nn.Module) -> Iterator[nn.Linear]:
    return (module for module in model.modules() if isinstance(module, nn.Linear) and hasattr(module, _BUFFER))
