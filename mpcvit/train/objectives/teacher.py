"""A trained model whose answers a student learns."""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.models.vit import Intermediates
from mpcvit.train.objectives.objective import intermediates


class Teacher:
    """``model`` in eval mode, without gradients, on whatever device its student is.

    Not a module: a student's optimiser and checkpoints must not find the teacher's weights.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, Intermediates]:
        """Return the logits [B, classes] and intermediates."""
        self.model.to(images_BCHW.device)
        return intermediates(self.model, images_BCHW)
