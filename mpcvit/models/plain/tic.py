"""Attention as a convolution: every place attends to the window around it, wherever the picture ends.

Zhang et al. 2024, "TiC: Exploring Vision Transformer in Convolution": the MSA-Conv, which works for any size; cyclic
shifts between layers carry information farther. *Reconstructed*: windows reach around the picture's edge by cyclic
shifts, and the mean over places pools between stages.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD


class AttentionConvolution(nn.Module):
    """Attention of each place to the ``side * side`` places around it, around the edges of the grid."""

    def __init__(self, width: int, heads: int, side: int = 3) -> None:
        super().__init__()
        self.heads = heads
        steps = range(-(side // 2), side - side // 2)
        self.shifts = [(row, column) for row in steps for column in steps]
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.bias = nn.Parameter(torch.zeros(heads, 1, len(self.shifts)))
        self.proj = nn.Linear(width, width)

    def _around(self, x: torch.Tensor) -> torch.Tensor:
        """Return [count, rows, columns, heads, side * side, width / heads]."""
        shifted = [torch.roll(x, shift, (1, 2)) for shift in self.shifts]
        return torch.stack([one.unflatten(-1, (self.heads, -1)) for one in shifted], dim=-2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [count, rows, columns, width]."""
        q = self.queries(x).unflatten(-1, (self.heads, 1, -1))
        k, v = self._around(self.keys(x)), self._around(self.values(x))
        scores = q.shape[-1] ** -0.5 * q @ k.mT + self.bias
        mixed: torch.Tensor = self.proj((scores.softmax(-1) @ v).flatten(-3))
        return mixed


class TicBlock(nn.Module):
    """The convolution and an MLP, each behind a layer norm, beside a residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), AttentionConvolution(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream [count, rows, columns, width] with what the block adds."""
        x = x + self.attention(self.norm1(x))
        added: torch.Tensor = self.mlp(self.norm2(x))
        return x + added


class Tic(nn.Module):
    """Logits [count, classes] of pictures [count, 3, size, size].

    Args:
        size, patch: pixels; an even number of patches a side.
        depth: blocks before the places are halved, and after.
    """

    def __init__(
        self, size: int = 32, patch: int = 4, width: int = 32, depth: int = 1, heads: int = 2, classes: int = 4
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.fine, self.coarse = (nn.Sequential(*(TicBlock(width, heads) for _ in range(depth))) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.fine(self.embed(pictures).permute(0, 2, 3, 1))
        x = avg_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        x = self.norm(self.coarse(x)).flatten(1, 2).mean(1)
        logits: torch.Tensor = self.head(x)
        return logits


def build() -> nn.Module:
    """Return a small one with random weights."""
    return Tic()
