"""Activations at some tokens or channels only: fixed, and relaxed for a search.

beta * act(h) + (1 - beta) * h, with beta per token (MPCViT+, per block) or per channel (the idle channels of RePaViT,
CVPR 2025). Axes: B batch, N tokens, M channels.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.models.block import Gate
from mpcvit.models.kinds import GateAxis


class HardGate(nn.Module):
    """Activated values at the positions that ``gate`` keeps, unchanged ones elsewhere. Has no state to save."""

    mask: torch.Tensor

    def __init__(self, gate: Gate, size: int) -> None:
        super().__init__()
        self.gate = gate
        self.axis = gate.axis
        mask = torch.zeros(size, dtype=torch.bool)
        mask[list(gate.kept)] = True
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, h_BNM: torch.Tensor, activated_BNM: torch.Tensor) -> torch.Tensor:
        """Return one of the two at every position."""
        return torch.where(_along(self.gate.axis, self.mask), activated_BNM, h_BNM)


class RelaxedGate(nn.Module):
    """A mixture of activated and unchanged values; ``beta`` [N] or [M] is learnt and is 1 where ``gate`` keeps.

    Outside [0, 1] beta counts as the nearer end, where no gradient would reach it: a search puts it back before every
    step (:meth:`mpcvit.search.relaxed.RelaxedViT.project`).
    """

    def __init__(self, axis: GateAxis, size: int, gate: HardGate | None = None) -> None:
        super().__init__()
        self.axis = axis
        known = gate is not None and gate.gate.axis is axis
        self.beta = nn.Parameter(gate.mask.float() if gate is not None and known else torch.ones(size))

    def forward(self, h_BNM: torch.Tensor, activated_BNM: torch.Tensor) -> torch.Tensor:
        """Return beta * activated + (1 - beta) * h."""
        beta = _along(self.axis, self.beta.clamp(0, 1))
        return torch.lerp(h_BNM, activated_BNM, beta.to(h_BNM.dtype))  # which autocast chooses


def _along(axis: GateAxis, values: torch.Tensor) -> torch.Tensor:
    """Return ``values`` in a shape that broadcasts along ``axis`` of [B, N, M]."""
    return values[:, None] if axis is GateAxis.TOKEN else values
