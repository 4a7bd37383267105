"""Linear layers of any module that a pass may change one by one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.low_rank import LowRank


@torch.no_grad()
def module_layers(module: nn.Module, images: torch.Tensor) -> list[str]:
    """Return the paths of linear layers in the order in which ``module`` calls them.

    Left out are the last one, which writes the answer, and those that are called more than once, share parameters, are
    factors of a layer of low rank, or are of a subclass of ``nn.Linear``, which may compute something else.

    Args:
        images: normalised pictures, float32 [count, channels, size, size]; one is looked at.

    Raises:
        ConfigError: no layer is left.
    """
    calls: list[str] = []

    def called(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda _module, _inputs: calls.append(name)

    named = list(module.named_modules(remove_duplicate=False))
    factors = {factor for _, layer in named if isinstance(layer, LowRank) for factor in layer.children()}
    linears = [(name, layer) for name, layer in named if type(layer) is nn.Linear and layer not in factors]
    handles = [layer.register_forward_pre_hook(called(name)) for name, layer in linears]
    try:
        module(images[:1])
    finally:
        for handle in handles:
            handle.remove()
    owners = [parameter for _, child in named for parameter in child.parameters(recurse=False)]
    found = [
        name
        for name in calls[:-1]
        if calls.count(name) == 1 and _alone(owners, module.get_submodule(name)) and name != calls[-1]
    ]
    if not found:
        raise ConfigError(
            "a module with no linear layer before its last one",
            expected="nn.Linear layers that are called once",
            remedy="Export the module as it is; passes change linear layers only.",
        )
    return found


def _alone(owners: list[nn.Parameter], layer: nn.Module) -> bool:
    """Return whether no other module has a parameter of ``layer``."""
    return all(sum(other is parameter for other in owners) == 1 for parameter in layer.parameters())
