"""What places for quantizers see on calibration pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.norm import AffineNorm, BatchNorm
from mpcvit.models.vit import Attention
from mpcvit.quantize.places import QuantLayer, places

_WEIGHT = "quantize_weight"
#: Pictures that go through the model at once.
_BATCH = 32


@dataclass(frozen=True)
class ForwardTrace:
    """What a forward pass does.

    Attributes:
        calls: the places that see activations, in the order of their calls; one that is called twice stands twice.
        norms: by the name of a layer, the norm whose output it reads, where nothing else reads that and neither is
            called twice; so that one can be changed and the other can undo the change.
        layers: by the name of a place in ``calls``, the name that configurations have for its layer or attention.
    """

    calls: tuple[str, ...]
    norms: dict[str, str]
    layers: dict[str, str]

    @property
    def first(self) -> str:
        """The layer that reads the pictures."""
        return self.layers[self.calls[0]]

    def stages(self) -> list[list[str]]:
        """Return the places in groups whose values are captured together: those of a block, and each of those outside
        blocks.

        A place belongs where it is called first.
        """
        stages: dict[str, list[str]] = {}
        for name in dict.fromkeys(self.calls):
            stages.setdefault(_block(name), []).append(name)
        return list(stages.values())


def _block(name: str) -> str:
    """Return ``blocks.3`` for ``blocks.3.mlp.fc1.quantize_input``; names without a number as they are."""
    parts = name.split(".")
    before = list(takewhile(lambda part: not part.isdigit(), parts))
    return ".".join(parts[: len(before) + 1])


@torch.no_grad()
def trace(model: nn.Module, image: torch.Tensor) -> ForwardTrace:
    """Return what a forward pass of ``model`` on ``image`` [1, channels, size, size] does."""
    calls: list[str] = []
    read: dict[str, str] = {}
    outputs: list[tuple[str, torch.Tensor]] = []  # kept, so that no other tensor takes an output's identity
    handles = []

    def reads(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            calls.append(name)
            for norm, output in outputs:
                if output is args[0]:
                    read[name] = norm

        return hook

    def writes(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        return lambda _module, _args, output: outputs.append((name, output))

    for name, module in activation_places(model).items():
        handles.append(module.register_forward_pre_hook(reads(name)))
    for name, module in model.named_modules():
        if isinstance(module, (nn.LayerNorm, AffineNorm, BatchNorm)):
            handles.append(module.register_forward_hook(writes(name)))
    try:
        model(image)
    finally:
        for handle in handles:
            handle.remove()
    written, readers = [name for name, _ in outputs], list(read.values())
    owners = [name for name, module in model.named_modules() if isinstance(module, QuantLayer | Attention)]
    layers = {place: max((owner for owner in owners if place.startswith(f"{owner}.")), key=len) for place in calls}
    alone = {
        layers[name]: norm
        for name, norm in read.items()
        if calls.count(name) == written.count(norm) == readers.count(norm) == 1
    }
    return ForwardTrace(tuple(calls), alone, layers)


class _Enough(Exception):
    """All that was asked for is there: the only way out of a forward pass."""


@torch.no_grad()
def capture(
    model: nn.Module, calls: tuple[str, ...], names: Iterable[str], images: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return what the places ``names`` see when ``model`` runs on ``images``: by name, all calls' values along the
    first axis.

    Holds these values and the activations of a few pictures in memory. Ends the passes as soon as it can.

    Args:
        calls: of the model's trace.
    """
    seen: dict[str, list[torch.Tensor]] = defaultdict(list)
    wanted = set(names)
    expected = sum(name in wanted for name in calls)
    modules = activation_places(model)

    def hook_for(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            seen[name].append(args[0])
            if sum(map(len, seen.values())) % expected == 0:
                raise _Enough

        return hook

    handles = [modules[name].register_forward_pre_hook(hook_for(name)) for name in wanted]
    try:
        for batch in images.split(_BATCH):
            try:
                model(batch)
            except _Enough:
                continue
    finally:
        for handle in handles:
            handle.remove()
    return {name: _joined(name, values) for name, values in seen.items()}


def _joined(name: str, values: list[torch.Tensor]) -> torch.Tensor:
    """Return what a place saw in all its calls."""
    if len({value.shape[1:] for value in values}) > 1:
        raise ConfigError(
            f"calls of '{name.rpartition('.')[0]}' with inputs of {len({value.shape[1:] for value in values})} shapes",
            expected="a layer that always reads the same shape",
            remedy="Give each of the places that share this layer one of its own.",
        )
    return torch.cat(values)


def activation_places(model: nn.Module) -> dict[str, nn.Module]:
    """Return what sits at every place that sees activations, by the place's name."""
    return {name: place.get() for name, place in places(model).items() if place.attribute != _WEIGHT}
