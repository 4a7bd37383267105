"""A token for every patch of every channel: channels that are no colours are told apart and may be missing.

Bao et al. 2024, "Channel Vision Transformers: An Image Is Worth 1 x 16 x 16 Words" (ChannelViT), section 3: patches of
all channels share one projection, a channel has an embedding of its own. Hierarchical channel sampling draws the number
of channels of a training step first, then which.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mpcvit.inputs import InputKind, InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, patches


class ChannelTokens(nn.Module):
    """Logits [count, classes] of stacks of channels [count, channels, size, size].

    Args:
        channels: of the whole set.
        present: those that the input has, a public choice; None for all. Fewer make a shorter sequence.
        size, patch: pixels.
    """

    def __init__(
        self,
        channels: int = 4,
        present: Sequence[int] | None = None,
        size: int = 32,
        patch: int = 8,
        width: int = 48,
        depth: int = 2,
        heads: int = 2,
        classes: int = 3,
    ) -> None:
        super().__init__()
        self.present = tuple(range(channels)) if present is None else tuple(present)
        count = len(self.present)
        self.input_spec = InputSpec(kind=InputKind.CHANNELS, shape=(count, size, size))
        self.mean, self.std, self.patch = (MEAN,) * count, (STD,) * count, patch
        self.embed = nn.Linear(patch**2, width)
        self.places = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.channels = nn.Parameter(0.02 * torch.randn(channels, 1, width))
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.Sequential(*(PlainBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, stacks: torch.Tensor) -> torch.Tensor:
        """Return the logits; in training, of sampled channels."""
        chosen = sampled_channels(len(self.present)) if self.training else list(range(len(self.present)))
        kinds = self.channels[[self.present[channel] for channel in chosen]]
        seen = stacks[:, chosen] if self.training else stacks
        x = (self.embed(patches(seen.unsqueeze(2), self.patch)) + self.places + kinds).flatten(1, 2)
        x = self.blocks(torch.cat([self.token.expand(len(x), -1, -1), x], dim=1))
        logits: torch.Tensor = self.head(self.norm(x[:, 0]))
        return logits


def sampled_channels(count: int) -> list[int]:
    """Return 1 to ``count`` of as many channels, sorted: every number of them is equally likely."""
    kept = int(torch.randint(1, count + 1, ()))
    return sorted(torch.randperm(count)[:kept].tolist())


def build() -> nn.Module:
    """Return a small one with random weights."""
    return ChannelTokens()
