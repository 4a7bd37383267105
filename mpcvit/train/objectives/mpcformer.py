"""MPCFormer's distillation (Li et al., ICLR 2023) in two stages: first what happens inside, then the answers.

The student starts from the teacher's weights, with all approximations switched on at once, and labels are not used.
MPCFormer compares attention scores before the softmax. Ours are the attention's outputs: kinds such as linformer have
no score per pair of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.train.objectives.objective import depth, intermediates, soft_label_loss, squared_error
from mpcvit.train.objectives.teacher import Teacher


@dataclass(frozen=True)
class HiddenStates:
    """Stage 1: MSE of the embedding, of every block's attention output and of every block's output, added up.

    Attributes:
        teacher: of the student's depth, width and tokens.
    """

    teacher: Teacher

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar; ``targets`` are not used."""
        _, out = intermediates(model, images)
        _, wanted = self.teacher(images)
        if depth(out) != depth(wanted):
            raise ConfigError(
                f"{depth(out)} blocks in the student, {depth(wanted)} in the teacher",
                expected="equal depths",
                remedy="Take another teacher, or the objective 'distillation'.",
            )
        names = ["embed"]
        for number in range(depth(out)):
            names += [f"block{number}.attn", f"block{number}"]
        return torch.stack([squared_error(name, out[name], wanted[name]) for name in names]).sum()


@dataclass(frozen=True)
class SoftLabels:
    """Stage 2: cross entropy with the teacher's softmax at temperature 1.

    Attributes:
        teacher: of the student's classes.
    """

    teacher: Teacher

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar; ``targets`` are not used."""
        teacher_logits, _ = self.teacher(images)
        return soft_label_loss(model(images), teacher_logits)
