"""The MLP on codes: two linear layers, and GELU, ReLU or nothing between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from mpcvit.ivit.dyadic import Dyadic, dyadic, saturate
from mpcvit.ivit.linear import IntegerLinear, integer_linear
from mpcvit.ivit.scales import OPERAND_BITS, STREAM_BITS, ScaledEdge, steps_per_unit, symmetric_scale
from mpcvit.ivit.shift_gelu import GELU_GAIN, SIGMOID_BITS, shift_gelu
from mpcvit.models.kinds import Activation
from mpcvit.models.vit import Mlp

IntegerActivation = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class IntegerGelu:
    """ShiftGELU, and the change to the scale of its results.

    Attributes:
        unit: codes per unit of 1.702 x.
        rescale: from x times the sigmoid.
    """

    unit: int
    rescale: Dyadic

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        return saturate(self.rescale(shift_gelu(codes, self.unit)), OPERAND_BITS)


@dataclass(frozen=True, eq=False)
class IntegerMlp:
    """Codes [B, N, D] to codes of the branch."""

    fc1: IntegerLinear
    activation: IntegerActivation
    fc2: IntegerLinear

    def __call__(self, codes_BND: torch.Tensor) -> torch.Tensor:
        """Return what is added to the residual stream."""
        return self.fc2(self.activation(self.fc1(codes_BND)))


@dataclass(frozen=True, eq=False)
class _Between:
    """An activation on codes, and the scales before and behind it."""

    reads: float
    activation: IntegerActivation
    writes: float


def _gelu(before: torch.Tensor, after: torch.Tensor) -> _Between:
    unit = steps_per_unit(before, OPERAND_BITS, GELU_GAIN)
    reads, writes = 1 / (unit * GELU_GAIN), symmetric_scale(after, OPERAND_BITS)
    return _Between(reads, IntegerGelu(unit, dyadic(reads * 2.0 ** (1 - SIGMOID_BITS) / writes)), writes)


def _relu(before: torch.Tensor, after: torch.Tensor) -> _Between:
    scale = symmetric_scale(after, OPERAND_BITS)  # what is below 0 may saturate
    return _Between(scale, _positive, scale)


def _identity(before: torch.Tensor, after: torch.Tensor) -> _Between:
    scale = symmetric_scale(after, OPERAND_BITS)
    return _Between(scale, _unchanged, scale)


def _positive(codes: torch.Tensor) -> torch.Tensor:
    return codes.clamp(min=0)


def _unchanged(codes: torch.Tensor) -> torch.Tensor:
    return codes


#: From real values before and behind an activation to its form on codes; activations that are not here have none.
ACTIVATIONS: dict[Activation, Callable[[torch.Tensor, torch.Tensor], _Between]] = {
    Activation.GELU: _gelu,
    Activation.RELU: _relu,
    Activation.IDENTITY: _identity,
}


def integer_mlp(mlp: Mlp, x: ScaledEdge) -> tuple[IntegerMlp, ScaledEdge]:
    """Return ``mlp`` on codes, and what it writes.

    Args:
        mlp: in float64, without a gate, its activation in :data:`ACTIVATIONS`.
        x: what it reads.
    """
    fc1, fc2 = cast(nn.Linear, mlp.fc1), cast(nn.Linear, mlp.fc2)
    before = fc1(x.real)
    after = mlp.act(before)
    branch = fc2(after)
    between = ACTIVATIONS[mlp.activation](before, after)
    scale = symmetric_scale(branch, STREAM_BITS)
    integer = IntegerMlp(
        fc1=integer_linear(fc1.weight, fc1.bias, x.scale, between.reads, OPERAND_BITS),
        activation=between.activation,
        fc2=integer_linear(fc2.weight, fc2.bias, between.writes, scale, STREAM_BITS),
    )
    return integer, ScaledEdge(branch, scale)
