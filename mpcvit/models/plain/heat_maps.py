"""Attention in windows, then to everything, and a sub-pixel decoder: which joint is where.

UniTransPose, "Unified transformer for pose": local and global attention, and a decoder that shuffles channels to
pixels. *Reconstructed*: one scale of tokens; the decoder is linear, so that it costs one product on shares.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, Trunk


class HeatMaps(nn.Module):
    """Logits [count, joints + 1, rows, columns] of pictures [count, 3, size, size]: of none first; for maps.

    Args:
        size, patch: pixels.
        window: patches along the side of a window, which divides their number in a row.
        cells: places along the side of a patch.
    """

    def __init__(
        self,
        size: int = 32,
        patch: int = 8,
        width: int = 48,
        heads: int = 2,
        joints: int = 5,
        window: int = 2,
        cells: int = 2,
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.trunk = Trunk(size, patch, width, 0, heads)
        self.window, self.cells = window, cells
        self.local, self.everywhere = PlainBlock(width, heads), PlainBlock(width, heads)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, (joints + 1) * cells**2)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        side, window = self.trunk.side, self.window
        x = self.trunk.tokens(pictures)
        count, _, width = x.shape
        tiles = x.reshape(count, side // window, window, side // window, window, width).transpose(2, 3)
        tiles = self.local(tiles.reshape(count, (side // window) ** 2, window**2, width))
        tiles = tiles.reshape(count, side // window, side // window, window, window, width).transpose(2, 3)
        x = self.everywhere(tiles.reshape(count, side**2, width))
        cells: torch.Tensor = (
            self.head(self.norm(x)).unflatten(2, (-1, self.cells, self.cells)).unflatten(1, (side, side))
        )
        return cells.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def build() -> nn.Module:
    """Return a small one with random weights."""
    return HeatMaps()
