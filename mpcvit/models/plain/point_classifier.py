"""A ViT that names what is at given points: the centres of masks that something else proposed.

ViT-P, "The Missing Point in Vision Transformers for Universal Image Segmentation": masks come from a proposal
generator, classes from a ViT at points. *Reconstructed*: points are public, and a point reads the patch that it lies
in, through tokens that attend to all patches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, Trunk


class PointClassifier(nn.Module):
    """Logits [count, labels, 1, points] of pictures [count, 3, size, size]; for maps of one row.

    Args:
        size, patch: pixels.
        points: (row, column) of a pixel, of every point.
    """

    places: torch.Tensor

    def __init__(
        self,
        size: int = 32,
        patch: int = 8,
        width: int = 48,
        depth: int = 2,
        heads: int = 2,
        labels: int = 3,
        points: Sequence[tuple[int, int]] = ((4, 4), (16, 16), (28, 8)),
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.trunk = Trunk(size, patch, width, depth, heads)
        places = [row // patch * self.trunk.side + column // patch for row, column in points]
        self.register_buffer("places", torch.tensor(places))
        self.point = nn.Parameter(0.02 * torch.randn(width))
        self.block, self.norm = PlainBlock(width, heads), nn.LayerNorm(width)
        self.head = nn.Linear(width, labels)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.trunk(pictures)
        points = x.index_select(1, self.places) + self.point
        x = self.block(torch.cat([points, x], dim=1))[:, : len(self.places)]
        logits: torch.Tensor = self.head(self.norm(x))
        return logits.mT.unsqueeze(2)


def build() -> nn.Module:
    """Return a small one with random weights."""
    return PointClassifier()
