"""Knowledge distillation as MPCViT (Zeng et al., ICCV 2023) retrains its searched models."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mpcvit.train.objectives.objective import intermediates, label_loss, last_tokens, soft_label_loss, squared_error
from mpcvit.train.objectives.teacher import Teacher


@dataclass(frozen=True)
class Distillation:
    """CE(labels) + CE(teacher's softmax, temperature 1) + kappa * MSE(last tokens).

    The last tokens are those of the final norm, all of them. The teacher sees the same augmented, mixed pictures.
    MPCViT's released code has kappa = 1.

    Attributes:
        teacher: has as many classes, and unless kappa is 0, the student's width and tokens.
        token_weight: kappa.
        smoothing: label smoothing of class numbers.
    """

    teacher: Teacher
    token_weight: float = 1.0
    smoothing: float = 0.0

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar."""
        logits, out = intermediates(model, images)
        teacher_logits, teacher_out = self.teacher(images)
        loss = label_loss(logits, targets, self.smoothing) + soft_label_loss(logits, teacher_logits)
        if self.token_weight > 0:
            with torch.no_grad():
                wanted = last_tokens(self.teacher.model, teacher_out)
            loss = loss + self.token_weight * squared_error("tokens", last_tokens(model, out), wanted)
        return loss
