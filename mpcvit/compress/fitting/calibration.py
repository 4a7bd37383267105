"""What a model's layers read on calibration pictures. Axes: R rows (pictures times tokens), I inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import nn

#: Pictures that go through a model at a time.
BATCH = 64
#: Names of a block's linear layers, in the order in which they are run.
LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


@dataclass(frozen=True)
class Moments:
    """First and second moments of a layer's inputs, float64.

    Attributes:
        mean: [I].
        covariance: [I, I], centred, divided by the number of rows.
    """

    mean: torch.Tensor
    covariance: torch.Tensor

    @classmethod
    def of(cls, rows_RI: torch.Tensor) -> Moments:
        """Return the moments of ``rows_RI``."""
        rows = rows_RI.double()
        mean = rows.mean(0)
        centred = rows - mean
        return cls(mean, centred.T @ centred / len(rows))


@torch.no_grad()
def input_moments(model: nn.Module, names: Sequence[str], images: torch.Tensor) -> dict[str, Moments]:
    """Return the moments of what each of the modules called ``names`` reads, from one pass over ``images``."""
    sums: dict[str, tuple[int, torch.Tensor, torch.Tensor]] = {}

    def add(name: str, rows_RI: torch.Tensor) -> None:
        rows = rows_RI.double()
        count, first, second = sums.get(name, (0, torch.zeros(()), torch.zeros(())))
        sums[name] = (count + len(rows), first + rows.sum(0), second + rows.T @ rows)

    def hook(name: str) -> object:
        return model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs: add(name, inputs[0].flatten(0, -2))
        )

    hooks = [hook(name) for name in names]
    try:
        for batch in images.split(BATCH):
            model(batch)
    finally:
        for handle in hooks:
            handle.remove()  # type: ignore[attr-defined]  # torch's handle
    moments = {}
    for name, (count, first, second) in sums.items():
        mean = first / count
        moments[name] = Moments(mean, second / count - torch.outer(mean, mean))
    return moments


@torch.no_grad()
def inputs_of(model: nn.Module, name: str, images: torch.Tensor) -> torch.Tensor:
    """Return what the module called ``name`` reads [R, I], for all ``images``; nothing behind it is computed."""
    return torch.cat(list(_reads(model, name, images)))


def _reads(model: nn.Module, name: str, images: torch.Tensor) -> Iterator[torch.Tensor]:
    seen: list[torch.Tensor] = []

    def stop(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0].flatten(0, -2))
        raise _Reached

    handle = model.get_submodule(name).register_forward_pre_hook(stop)
    try:
        for batch in images.split(BATCH):
            with suppress(_Reached):
                model(batch)
            yield seen.pop()
    finally:
        handle.remove()


class _Reached(Exception):
    """Ends a forward pass."""
