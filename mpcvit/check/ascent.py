"""Gradient ascent on what gates read: pictures that are made to leave a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mpcvit.check.edges import Edge
from mpcvit.program.program import Program
from mpcvit.ring.fixed_point import Codes

_STEPS = 80
_RATE, _FINE_RATE = 0.3, 0.1
#: Pixels begin this far from black and white, where their logits are finite.
_INSIDE = 4.0
_PIXEL = 255.0
#: Keeps the logarithm of a value that is to vanish finite.
_TINY = 1e-6


@dataclass(frozen=True)
class Target:
    """One end of a gate, and a picture to begin with, uint8 [channels, height, width]."""

    edge: Edge
    start: npt.NDArray[np.uint8]


class Ascent:
    """Attacks on a Program, on its relaxed values: real numbers in place of codes.

    Args:
        weights: codes of every parameter.
    """

    def __init__(self, program: Program, weights: Mapping[str, Codes]) -> None:
        self._program = program
        self._weights = {name: torch.from_numpy(np.asarray(codes)).float() for name, codes in weights.items()}
        self._position = {node.name: index for index, node in enumerate(program.nodes)}
        self._nodes = {node.name: node for node in program.nodes}

    def attack(
        self, targets: Sequence[Target], report: Callable[[int, int], None] = lambda done, total: None
    ) -> npt.NDArray[np.uint8]:
        """Return two pictures per target, uint8 [2 * targets, channels, height, width]: as found, and of black and
        white only.

        Args:
            report: called with (steps done, steps in all).
        """
        start = torch.from_numpy(np.stack([target.start for target in targets])).float()
        logits = torch.logit(start.clamp(_INSIDE, _PIXEL - _INSIDE) / _PIXEL).requires_grad_(True)
        optimiser = torch.optim.Adam([logits], lr=_RATE)
        for step in range(_STEPS):
            optimiser.param_groups[0]["lr"] = _RATE if step < _STEPS // 2 else _FINE_RATE
            loss = self._loss(_PIXEL * torch.sigmoid(logits), [target.edge for target in targets])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            report(step + 1, _STEPS)
        found = (_PIXEL * torch.sigmoid(logits)).detach().round()
        corners = torch.where(found > _PIXEL / 2, _PIXEL, 0.0)
        return torch.cat([found, corners]).to(torch.uint8).numpy()

    def _loss(self, pixels: torch.Tensor, edges: Sequence[Edge]) -> torch.Tensor:
        """Return a loss that is lower where every picture's own gate reads something more extreme."""
        (image,) = self._program.inputs
        values: dict[str, torch.Tensor] = {**self._weights, image: pixels}
        last = max(self._position[edge.node] for edge in edges)
        losses = []
        for node, finished in self._program.in_order():
            if self._position[node.name] > last:
                break
            inputs = [values[name] for name in node.inputs]
            for row, edge in enumerate(edges):
                if edge.node == node.name:
                    read = node.op.gated(*(value[row : row + 1] for value in inputs[:1]))
                    losses.append(_extreme(read * self._program.types[node.inputs[0]].qtype.step, edge))
            values[node.name] = node.op.relaxed(*inputs)
            for name in finished:
                del values[name]
        return torch.stack(losses).sum()


def _extreme(read: torch.Tensor, edge: Edge) -> torch.Tensor:
    """Return minus how far the picture goes towards the bound; where that is 0, the logarithm of what is left."""
    if edge.bound == 0:
        return (read.amin() - edge.bound).clamp(min=_TINY).log()
    return -(read.amax() if edge.upper else read.amin()) / edge.bound
