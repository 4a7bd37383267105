"""A quadratic stand-in for GELU with learnable coefficients (MPCFormer, ICLR 2023)."""

from __future__ import annotations

import math

import torch
from torch import nn

from mpcvit.errors import InputError

#: MPCFormer trains 0.125 x^2 + 0.25 x + 0.5; constant term first.
QUAD_COEFFICIENTS = (0.5, 0.25, 0.125)


def fit_quad(sigma: float) -> tuple[float, float, float]:
    """The quadratic nearest to GELU in the mean square over x ~ N(0, sigma^2), constant term first.

    GELU(x) = x / 2 + e(x) with e even, so that the linear term is 1/2 for every sigma, and a x^2 + c is the regression
    of e on x^2. With m = E[phi(x)] = 1 / sqrt(2 pi (1 + sigma^2)), Stein's lemma gives E[e] = sigma^2 m and
    E[x^2 e] = sigma^4 m (2 + 1 / (1 + sigma^2)); Var(x^2) = 2 sigma^4.

    The root of the mean square error is 0.013, 0.078, 0.23 and 0.36 for sigma 0.5, 1, 2 and 3: no quadratic is near
    GELU everywhere, so calibrate per block, and train afterwards.

    Args:
        sigma: standard deviation of what the activation reads, finite and not negative.

    Raises:
        InputError: ``sigma`` is negative or not finite.
    """
    if not 0 <= sigma < math.inf:
        raise InputError(
            f"a standard deviation of {sigma}", expected="0 <= sigma < inf", remedy="Measure it on training pictures."
        )
    variance = sigma**2
    density = 1 / math.sqrt(2 * math.pi * (1 + variance))
    quadratic = density * (2 + variance) / (2 * (1 + variance))
    return density * variance**2 / (2 * (1 + variance)), 0.5, quadratic


class Quad(nn.Module):
    """c2 x^2 + c1 x + c0 with the learnable ``coefficients`` [c0, c1, c2]; MPCFormer's to begin with.

    It grows without bound: clip gradients when training it, and distil from a teacher with GELU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.tensor(QUAD_COEFFICIENTS))

    @torch.no_grad()
    def calibrate(self, sigma: float) -> None:
        """Make this the best fit to GELU for inputs of standard deviation ``sigma``."""
        self.coefficients.copy_(torch.tensor(fit_quad(sigma)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The polynomial of every value."""
        c0, c1, c2 = self.coefficients.unbind()
        return (c2 * x + c1) * x + c0
