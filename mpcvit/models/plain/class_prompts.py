"""A ViT with a prompt for every class in its last block; what a prompt attends to are the traits of its class.

Chowdhury et al. 2025, "Prompt-CAM: Making Vision Transformers Interpretable for Fine-Grained Analysis", its variant
with prompts in the last block alone, and one scoring vector for all classes.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, Trunk


class ClassPrompts(nn.Module):
    """Logits [count, classes] of pictures [count, 3, size, size].

    Args:
        size, patch: pixels.
        depth: blocks, the last of which has the prompts.
    """

    def __init__(
        self, size: int = 32, patch: int = 8, width: int = 48, depth: int = 2, heads: int = 2, classes: int = 4
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.trunk = Trunk(size, patch, width, depth - 1, heads)
        self.prompts = nn.Parameter(0.02 * torch.randn(1, classes, width))
        self.last, self.norm, self.score = PlainBlock(width, heads), nn.LayerNorm(width), nn.Linear(width, 1)

    def _joined(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return prompts, then patches."""
        return torch.cat([self.prompts.expand(len(pictures), -1, -1), self.trunk(pictures)], dim=1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.last(self._joined(pictures))[:, : self.prompts.shape[1]]
        logits: torch.Tensor = self.score(self.norm(x))
        return logits.flatten(1)

    @torch.no_grad()
    def traits(self, pictures: torch.Tensor, label: int) -> torch.Tensor:
        """Return what the prompt of ``label`` attends to, in clear: [count, heads, rows, columns]."""
        attention, x = self.last.attention, self.last.norm1(self._joined(pictures))
        q, k = (
            layer(x).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for layer in (attention.queries, attention.keys)
        )
        scores = (q[:, :, label, None] @ k.mT)[:, :, 0] * q.shape[-1] ** -0.5
        patches = scores.softmax(-1)[:, :, self.prompts.shape[1] :]
        grids: torch.Tensor = patches.unflatten(2, (self.trunk.side, self.trunk.side))
        return grids


def build() -> nn.Module:
    """Return a small one with random weights."""
    return ClassPrompts()
