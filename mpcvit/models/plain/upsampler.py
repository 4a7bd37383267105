"""A plain ViT whose map is finer than its patches: upsampling is guided by small patches of the picture.

Tang et al. 2025, "VPNeXt: Rethinking Dense Decoding for Plain Vision Transformer" (ViTUp). *Reconstructed*: real
features of the picture at every scale join what was upsampled; its visual context replay is for training only, and left
out.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, Trunk, nearest


class Upsampler(nn.Module):
    """Logits [count, labels, rows, columns] of pictures [count, 3, size, size]; for maps.

    The map has ``2 ** levels`` places a patch, in each direction.

    Args:
        size, patch: pixels; ``patch`` is a multiple of ``2 ** levels``.
    """

    def __init__(
        self,
        size: int = 32,
        patch: int = 8,
        width: int = 48,
        depth: int = 2,
        heads: int = 2,
        labels: int = 3,
        levels: int = 1,
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.trunk, self.norm = Trunk(size, patch, width, depth, heads), nn.LayerNorm(width)
        sides = [patch >> level for level in range(1, levels + 1)]
        self.real = nn.ModuleList(nn.Conv2d(3, width, side, side) for side in sides)
        self.mixed = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in sides)
        self.head = nn.Conv2d(width, labels, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        grid = self.norm(self.trunk(pictures)).transpose(1, 2).unflatten(2, (self.trunk.side, self.trunk.side))
        for real, mixed in zip(self.real, self.mixed, strict=True):
            grid = (nearest(mixed(grid), 2) + real(pictures)).relu()
        logits: torch.Tensor = self.head(grid)
        return logits


def build() -> nn.Module:
    """Return a small one with random weights."""
    return Upsampler()
