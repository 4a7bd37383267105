"""Plain supervised training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mpcvit.train.objectives.objective import label_loss


@dataclass(frozen=True)
class CrossEntropy:
    """Cross entropy with the labels.

    Attributes:
        smoothing: label smoothing of class numbers.
    """

    smoothing: float = 0.0

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar."""
        return label_loss(model(images), targets, self.smoothing)
