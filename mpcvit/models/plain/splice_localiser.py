"""A ViT that finds what was pasted into a picture: tokens at three scales, joined at the finest one.

Ma et al. 2023, "IML-ViT: Benchmarking Image Manipulation Localization by Vision Transformer": a simple feature pyramid
on a plain ViT, and a loss that counts the edges of masks once more. Here layers of the pyramid are pooling and nearest
upsampling, which are free on shares, in place of transposed convolutions.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy, max_pool2d

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, Trunk, nearest

_LABELS = 2


class SpliceLocaliser(nn.Module):
    """Logits [count, 2, rows, columns] of pictures [count, 3, size, size]: genuine or pasted; for maps.

    The map has two places a patch, in each direction.

    Args:
        size, patch: pixels; an even number of patches a side.
    """

    def __init__(self, size: int = 32, patch: int = 8, width: int = 48, depth: int = 2, heads: int = 2) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.trunk, self.norm = Trunk(size, patch, width, depth, heads), nn.LayerNorm(width)
        self.coarse, self.middle = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.fine = nn.Conv2d(3, width, patch // 2, patch // 2)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(width, _LABELS, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        grid = self.norm(self.trunk(pictures)).transpose(1, 2).unflatten(2, (self.trunk.side, self.trunk.side))
        middle = self.middle(grid) + nearest(self.coarse(avg_pool2d(grid, 2)), 2)
        logits: torch.Tensor = self.head(nearest(middle, 2) + self.fine(pictures))
        return logits


def edge_loss(logits: torch.Tensor, masks: torch.Tensor, weight: float = 20.0) -> torch.Tensor:
    """Return the cross-entropy at all places, and ``weight`` times that at places beside the edge of a mask.

    Args:
        logits: [count, 2, rows, columns].
        masks: [count, rows, columns], 1 where something was pasted.
    """
    one = masks[:, None].float()
    edges = (max_pool2d(one, 3, 1, 1) + max_pool2d(-one, 3, 1, 1))[:, 0] > 0
    every = cross_entropy(logits, masks, reduction="none")
    return every.mean() + weight * (every * edges).mean()


def build() -> nn.Module:
    """Return a small one with random weights."""
    return SpliceLocaliser()
