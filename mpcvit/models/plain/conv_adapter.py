"""A ViT beside a pyramid of convolutions, which tell each other what they see, for dense prediction.

Xia et al. 2024, "ViT-CoMer: Vision Transformer with Convolutional Multi-scale Feature Interaction", and CellVTA, which
adapts a pathology ViT in the same way. *Reconstructed*: both sample at learnt places, which depend on the picture; here
the exchange is ordinary cross-attention, whose places are public.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, CrossAttention, PlainBlock, Trunk


class Exchange(nn.Module):
    """A block of the ViT, before which convolutions tell it something, and after which it tells them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.block = PlainBlock(width, heads)
        self.x_norm, self.c_norm, self.back_norm = (nn.LayerNorm(width) for _ in range(3))
        self.inject, self.extract = CrossAttention(width, heads), CrossAttention(width, heads)
        self.gamma = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both streams, [count, patches, width] and [count, places, width]."""
        told = self.c_norm(c)
        x = self.block(x + self.gamma * self.inject(self.x_norm(x), told))
        return x, c + self.extract(told, self.back_norm(x))


class ConvAdapter(nn.Module):
    """Logits [count, labels, rows, columns] of pictures [count, 3, size, size], one for each patch; for maps.

    Args:
        size, patch: pixels; patches of at least 4.
    """

    def __init__(
        self, size: int = 32, patch: int = 8, width: int = 48, depth: int = 2, heads: int = 2, labels: int = 3
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.trunk = Trunk(size, patch, width, 0, heads)
        stem = nn.Conv2d(3, width, patch // 2, patch // 2, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width))
        self.exchanges = nn.ModuleList(Exchange(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, labels)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x, fine = self.trunk.tokens(pictures), self.stem(pictures)
        c = torch.cat([level.flatten(2).transpose(1, 2) for level in (self.down(fine), fine)], dim=1)
        for exchange in self.exchanges:
            x, c = exchange(x, c)
        side = self.trunk.side
        rows = self.head(self.norm(x + c[:, : side**2]))
        logits: torch.Tensor = rows.mT.unflatten(2, (side, side))
        return logits


def build() -> nn.Module:
    """Return a small one with random weights."""
    return ConvAdapter()
