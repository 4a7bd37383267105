"""Linear layers of low rank."""

from __future__ import annotations

import torch
from torch import nn


class LowRank(nn.Module):
    """x -> up(down(x)): two linear layers, the first without bias.

    Args:
        rank: width between them, at most the smaller of the other two.
    """

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., out_features] from [..., in_features]."""
        output: torch.Tensor = self.up(self.down(x))
        return output


def make_linear(in_features: int, out_features: int, rank: int) -> nn.Linear | LowRank:
    """Return a linear layer; of ``rank`` unless that is 0."""
    return LowRank(in_features, out_features, rank) if rank else nn.Linear(in_features, out_features)
