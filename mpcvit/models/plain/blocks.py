"""What these modules are made of: patches in a row, attention, and a pre-norm block.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

#: By which pixels in [0, 1] are normalised, in every channel.
MEAN, STD = 0.5, 0.25


def patches(x: torch.Tensor, side: int) -> torch.Tensor:
    """Return pictures [..., channels, height, width] as rows [..., patches, channels * side * side]."""
    squares = x.unflatten(-1, (-1, side)).unflatten(-3, (-1, side))
    rows: torch.Tensor = squares.movedim((-4, -2), (-5, -4)).flatten(-5, -4).flatten(-3)
    return rows


class CrossAttention(nn.Module):
    """Softmax attention of tokens to a context, which may be the tokens themselves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Return [..., tokens, width] of ``x`` [..., tokens, width] and ``context`` [..., others, width]."""
        q, k, v = (
            layer(of).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for layer, of in ((self.queries, x), (self.keys, context), (self.values, context))
        )
        mixed: torch.Tensor = self.proj(scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2))
        return mixed


class PlainBlock(nn.Module):
    """Attention and an MLP, each behind a layer norm, beside a residual stream."""

    def __init__(self, width: int, heads: int, hidden: int | None = None) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), CrossAttention(width, heads)
        hidden = hidden or 2 * width
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream [..., tokens, width] with what the block adds."""
        y = self.norm1(x)
        x = x + self.attention(y, y)
        added: torch.Tensor = self.mlp(self.norm2(x))
        return x + added


class Trunk(nn.Module):
    """Patches of a square picture, with places, through blocks: a ViT without class token and head."""

    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.side = size // patch
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn(self.side**2, width))
        self.blocks = nn.Sequential(*(PlainBlock(width, heads) for _ in range(depth)))

    def tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return what goes into the first block, [count, patches, width]."""
        x: torch.Tensor = self.embed(pictures)
        return x.flatten(2).transpose(1, 2) + self.places

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return what comes out of the last block, [count, patches, width]."""
        x: torch.Tensor = self.blocks(self.tokens(pictures))
        return x


def nearest(grid: torch.Tensor, factor: int) -> torch.Tensor:
    """Return a grid [count, channels, rows, columns] ``factor`` times as large, each place repeated."""
    return grid.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
