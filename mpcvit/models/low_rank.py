"""Linear layers of low rank."""

from __future__ import annotations

import copy

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


def put_low_rank(module: nn.Module, name: str, rank: int) -> None:
    """Replace the linear layer called ``name`` of any module by one of ``rank``, its factors of no meaning yet."""
    layer = module.get_submodule(name)
    assert isinstance(layer, nn.Linear)  # noqa: S101 - callers name one
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, LowRank(layer.in_features, layer.out_features, rank))


def multiplied_out(module: nn.Module) -> nn.Module:
    """Return a copy of any module in which layers of low rank are ordinary ones, which compute the same."""
    result = copy.deepcopy(module)
    for name, layer in list(result.named_modules()):
        if isinstance(layer, LowRank):
            whole = nn.Linear(layer.in_features, layer.out_features)
            product = layer.up.weight.detach().double() @ layer.down.weight.detach().double()
            whole.weight, whole.bias = nn.Parameter(product.to(layer.up.weight)), layer.up.bias
            parent, _, attribute = name.rpartition(".")
            setattr(result.get_submodule(parent), attribute, whole.eval())
    return result
