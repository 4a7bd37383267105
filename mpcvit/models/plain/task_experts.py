"""One ViT for several tasks: blocks are shared, every task has experts and a head of its own.

Edge-MoE runs M3ViT, whose gates choose experts by task. *Reconstructed*: the task is public and alone chooses, as a
token's own choice of experts would have to stay secret, and then all experts would have to be computed.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, CrossAttention, Trunk


class ExpertBlock(nn.Module):
    """A block whose MLP is that of the task."""

    def __init__(self, width: int, heads: int, tasks: int) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), CrossAttention(width, heads), nn.LayerNorm(width)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(tasks)
        )

    def forward(self, x: torch.Tensor, task: int) -> torch.Tensor:
        """Return the stream [count, tokens, width] with what the block adds."""
        y = self.norm1(x)
        x = x + self.attention(y, y)
        added: torch.Tensor = self.experts[task](self.norm2(x))
        return x + added


class TaskExperts(nn.Module):
    """Logits [count, classes of the task] of pictures [count, 3, size, size].

    Args:
        classes: of every task.
        task: the one that ``forward`` computes; weights of the others do not get into a Program.
        size, patch: pixels.
    """

    def __init__(
        self,
        classes: tuple[int, ...] = (3, 5),
        task: int = 0,
        size: int = 32,
        patch: int = 8,
        width: int = 48,
        depth: int = 2,
        heads: int = 2,
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std, self.task = (MEAN,) * 3, (STD,) * 3, task
        self.trunk = Trunk(size, patch, width, 0, heads)
        self.blocks = nn.ModuleList(ExpertBlock(width, heads, len(classes)) for _ in range(depth))
        self.norm, self.heads = nn.LayerNorm(width), nn.ModuleList(nn.Linear(width, count) for count in classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.trunk.tokens(pictures)
        for block in self.blocks:
            x = block(x, self.task)
        logits: torch.Tensor = self.heads[self.task](self.norm(x).mean(1))
        return logits


def build() -> nn.Module:
    """Return a small one with random weights, for its first task."""
    return TaskExperts()


def build_second() -> nn.Module:
    """Return the same for its second task."""
    return TaskExperts(task=1)
