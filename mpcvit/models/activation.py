"""MLP activations as functions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import gelu

from mpcvit.models.config import Activation

#: MPCFormer (ICLR 2023): 0.125 x^2 + 0.25 x + 0.5, constant term first.
QUAD_COEFFICIENTS = (0.5, 0.25, 0.125)


def quad(x: torch.Tensor) -> torch.Tensor:
    """MPCFormer's quadratic stand-in for GELU."""
    c0, c1, c2 = QUAD_COEFFICIENTS
    return (c2 * x + c1) * x + c0


def identity(x: torch.Tensor) -> torch.Tensor:
    """No activation: the MLP is one linear layer of rank ``hidden`` at most (MPCViT+'s linear fusion)."""
    return x


ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    Activation.GELU: gelu,
    Activation.RELU: torch.relu,
    Activation.QUAD: quad,
    Activation.IDENTITY: identity,
}
