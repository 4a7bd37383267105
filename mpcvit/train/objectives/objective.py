"""What every objective is, and parts that several share. Axes: B batch, N tokens, D width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn import functional

from mpcvit.errors import ConfigError
from mpcvit.models.vit import Intermediates, VisionTransformer

#: (model, images [B, channels, height, width], targets) -> loss, a scalar. Targets are class numbers int64 [B], or with
#: mixup distributions float32 [B, classes]. The model is never wrapped, so its methods may be called.
Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


@runtime_checkable
class ReturnsIntermediates(Protocol):
    """A model that shows what happens inside, such as ``mpcvit.models.vit.VisionTransformer``."""

    norm: nn.Module

    def intermediates(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, Intermediates]:
        """Return the logits [B, classes], and results by name: ``embed``, ``block0.attn``, ``block0.mlp``, ``block0``,
        ...
        """


def intermediates(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, Intermediates]:
    """Return the logits [B, classes] and intermediates of ``model``.

    Raises:
        ConfigError: the model cannot give them.
    """
    if not isinstance(model, ReturnsIntermediates):
        raise ConfigError(
            f"a {type(model).__name__} in distillation",
            expected="a model with intermediates() and a final norm",
            remedy="Use mpcvit.models.vit.VisionTransformer, or the objective 'cross_entropy'.",
        )
    return model.intermediates(images)


def depth(out: Intermediates) -> int:
    """Return the number of blocks that ``out`` is of."""
    return sum(f"block{number}" in out for number in range(len(out)))


def last_tokens(model: nn.Module, out: Intermediates) -> torch.Tensor:
    """Return all tokens behind the final norm [B, N, D], but registers and prompts, which no head reads.

    The models pool before they normalise, so this runs their final norm on the last block's tokens.
    """
    if not isinstance(model.norm, nn.Module):
        raise ConfigError("a model without a final norm", expected="a module 'norm'", remedy="Use another objective.")
    tokens: torch.Tensor = model.norm(out[f"block{depth(out) - 1}"])
    if isinstance(model, VisionTransformer) and model.config.extra_tokens:
        first, own = int(model.config.class_token), model.config.own_tokens
        tokens = torch.cat([tokens[:, :first], tokens[:, own:]], dim=1)
    return tokens


def label_loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Return cross entropy with ``targets``; soft ones have their smoothing already."""
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing if targets.ndim == 1 else 0.0)


def soft_label_loss(logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
    """Return cross entropy with the teacher's softmax at temperature 1, mean over the batch."""
    return functional.cross_entropy(logits.float(), teacher_logits.float().softmax(dim=-1))


def squared_error(name: str, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of two intermediates.

    Raises:
        ConfigError: their shapes differ.
    """
    if student.shape != teacher.shape:
        raise ConfigError(
            f"'{name}' of shape {list(student.shape[1:])} in the student, {list(teacher.shape[1:])} in the teacher",
            expected="equal shapes",
            remedy="Take a teacher of the student's width and tokens, or set token_weight to 0.",
        )
    return functional.mse_loss(student.float(), teacher.float())
