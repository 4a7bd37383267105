"""A bag of pictures with one label: a ViT sees each, and gated attention says how much each counts.

Ilse et al. 2018, "Attention-based Deep Multiple Instance Learning", equation 9, on features of a self-supervised ViT as
in Self-ViT-MIL. How much a picture counts is a softmax over the bag; the order of pictures means nothing.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputKind, InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, patches


class BagPooling(nn.Module):
    """Logits [count, classes] of bags [count, pictures, 3, size, size].

    Args:
        pictures: in a bag, a public number.
        size, patch: pixels.
    """

    def __init__(
        self,
        pictures: int = 4,
        size: int = 32,
        patch: int = 8,
        width: int = 48,
        depth: int = 2,
        heads: int = 2,
        classes: int = 2,
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(kind=InputKind.BAG, shape=(pictures, 3, size, size))
        self.mean, self.std, self.patch = (MEAN,) * 3, (STD,) * 3, patch
        self.embed = nn.Linear(3 * patch**2, width)
        self.places = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(PlainBlock(width, heads) for _ in range(depth)), nn.LayerNorm(width))
        self.tanh, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        self.score, self.head = nn.Linear(width, 1), nn.Linear(width, classes)

    def features(self, bags: torch.Tensor) -> torch.Tensor:
        """Return [count, pictures, width], each from its own picture."""
        x: torch.Tensor = self.blocks(self.embed(patches(bags, self.patch)) + self.places)
        return x.mean(2)

    def forward(self, bags: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.features(bags)
        scores = self.score(self.tanh(x).tanh() * self.gate(x).sigmoid())
        pooled = scores.mT.softmax(-1) @ x
        logits: torch.Tensor = self.head(pooled[:, 0])
        return logits


def build() -> nn.Module:
    """Return a small one with random weights."""
    return BagPooling()
