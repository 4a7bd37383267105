"""Linear layers, of full or of low rank, seen from outside."""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.models.low_rank import LowRank

Layer = nn.Linear | LowRank


def reader(layer: Layer) -> nn.Linear:
    """Return the linear layer that reads what ``layer`` reads."""
    return layer.down if isinstance(layer, LowRank) else layer


def writer(layer: Layer) -> nn.Linear:
    """Return the linear layer that writes what ``layer`` writes; the one with the bias."""
    return layer.up if isinstance(layer, LowRank) else layer


def matrix(layer: Layer) -> torch.Tensor:
    """Return the whole matrix [I, O], float64."""
    weight = writer(layer).weight.detach().double().T
    return layer.down.weight.detach().double().T @ weight if isinstance(layer, LowRank) else weight


def linear(module: nn.Module) -> Layer:
    """Return ``module`` as the linear layer that it is."""
    assert isinstance(module, (nn.Linear, LowRank))  # noqa: S101 - asked of layers that models have by that name
    return module
