"""How far an MLP behind a norm can move the residual stream."""

from __future__ import annotations

import torch

from mpcvit.export.bounds.balls import box, gain, largest_eigenvalue
from mpcvit.export.bounds.minimise import minimise

_TINY = 1e-12


def activated(first: torch.Tensor, bias: torch.Tensor, second: torch.Tensor, radius: float) -> float:
    """Return a bound on |act(y F + bias) S| for |y| <= ``radius`` and an activation with |act(h)| <= |h|, as GELU and
    ReLU.

    |act(h) S| <= |D^-1 S| |h D| for every positive diagonal D: the diagonal multipliers of LipSDP (Fazlyab et al.,
    NeurIPS 2019), with the sector [-1, 1].

    Args:
        first: [in, hidden].
        second: [hidden, out].
    """
    scaled, width = first * radius, min(first.shape[0] + 1, second.shape[-1])
    hidden = torch.cat([scaled, bias[None]]).norm(dim=0)
    weights = (second.norm(dim=-1).clamp(min=_TINY) / hidden.clamp(min=_TINY)).sqrt().log()
    split = torch.zeros(1, dtype=torch.float64)  # between the ball and the bias, whose factor is 1

    def bound() -> torch.Tensor:
        diagonal, ratio = weights.exp(), split.exp()
        rows = torch.cat([scaled, bias[None] / ratio]) * diagonal
        columns = second / diagonal[:, None]
        inner = largest_eigenvalue(rows @ rows.mT) * (1 + ratio[0] ** 2)
        return (inner * largest_eigenvalue(columns.mT @ columns)).sqrt()

    return minimise(bound, [weights, split], width)


def written(hidden: torch.Tensor, second: torch.Tensor) -> float:
    """Return a bound on |a S| for |a_i| <= hidden_i, [hidden]: whatever the activation is."""
    return box(hidden[:, None] * second)


def linear(weight: torch.Tensor, radius: float) -> float:
    """Return a bound on |y W| for |y| <= ``radius``."""
    return gain(weight) * radius
