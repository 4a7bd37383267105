"""A ViT for little data: overlapping convolutions before it, depthwise ones in its MLPs, a token for every head.

Lu et al. 2022, "Bridging the Gap Between Vision Transformers and Convolutional Neural Networks on Small Datasets"
(DHVT), sections 3.2 to 3.4: sequential overlapping patch embedding, the dynamic aggregation feed-forward, and
interaction between heads.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, CrossAttention


class HeadTokens(nn.Module):
    """Attention, in which every head adds a token that sums up its channels, for the time of the attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.attention = heads, CrossAttention(width, heads)
        self.lift = nn.Sequential(nn.Linear(width // heads, width), nn.LayerNorm(width), nn.GELU())
        self.places = nn.Parameter(0.02 * torch.randn(heads, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [count, tokens, width]; head tokens give their mean to the class token."""
        tokens = x.shape[1]
        summed = x[:, 1:].mean(1).unflatten(-1, (self.heads, -1))
        x = torch.cat([x, self.lift(summed) + self.places], dim=1)
        mixed = self.attention(x, x)
        told = mixed[:, :1] + mixed[:, tokens:].mean(1, keepdim=True)
        return torch.cat([told, mixed[:, 1:tokens]], dim=1)


class DynamicAggregation(nn.Module):
    """An MLP with a depthwise convolution for patches, whose mean weighs the channels of the class token."""

    def __init__(self, width: int, hidden: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.local = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)
        self.squeeze, self.excite = nn.Linear(width, width // 2), nn.Linear(width // 2, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [count, 1 + patches, width]."""
        y = nn.functional.gelu(self.up(x[:, 1:]))
        grid = y.mT.unflatten(2, (self.side, self.side))
        y = y + nn.functional.gelu(self.local(grid)).flatten(2).mT
        y = self.down(y)
        weights = self.excite(nn.functional.gelu(self.squeeze(y.mean(1, keepdim=True))))
        return torch.cat([x[:, :1] * weights, y], dim=1)


class DhvtBlock(nn.Module):
    """Both, each behind a layer norm, beside a residual stream."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), HeadTokens(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width), DynamicAggregation(width, 2 * width, side)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream [count, 1 + patches, width] with what the block adds."""
        x = x + self.attention(self.norm1(x))
        added: torch.Tensor = self.mlp(self.norm2(x))
        return x + added


class Dhvt(nn.Module):
    """Logits [count, classes] of pictures [count, 3, size, size]; patches are of 4 pixels a side.

    Args:
        size: pixels, a multiple of 4.
    """

    def __init__(self, size: int = 32, width: int = 48, depth: int = 2, heads: int = 2, classes: int = 10) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        half = width // 2
        self.embed = nn.Sequential(
            nn.Conv2d(3, half, 3, 2, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.GELU(),
            nn.Conv2d(half, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.Sequential(*(DhvtBlock(width, heads, size // 4) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.embed(pictures).flatten(2).mT
        x = self.blocks(torch.cat([self.token.expand(len(x), -1, -1), x], dim=1))
        logits: torch.Tensor = self.head(self.norm(x[:, 0]))
        return logits


def build() -> nn.Module:
    """Return a small one with random weights."""
    return Dhvt()
