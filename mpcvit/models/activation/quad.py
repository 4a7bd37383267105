"""A quadratic stand-in for another activation with learnable coefficients (MPCFormer, ICLR 2023)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from mpcvit.models.kinds import Activation

#: MPCFormer trains 0.125 x^2 + 0.25 x + 0.5; constant term first.
QUAD_COEFFICIENTS = (0.5, 0.25, 0.125)


class Quad(nn.Module):
    """c2 x^2 + c1 x + c0 with the learnable ``coefficients`` [c0, c1, c2]; MPCFormer's to begin with.

    It grows without bound: clip gradients when training it, and distil from a teacher with the activation itself.
    """

    kind: ClassVar[Activation] = Activation.QUAD

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.tensor(QUAD_COEFFICIENTS))

    @torch.no_grad()
    def calibrate(self, x: torch.Tensor, wanted: torch.Tensor) -> None:
        """Make this the polynomial nearest to ``wanted`` in the mean square over the values ``x``, of equal shape.

        No quadratic is near GELU everywhere: for x ~ N(0, sigma^2) with sigma 0.5, 1, 2 and 3 the root of the mean
        square error is 0.013, 0.078, 0.23 and 0.36. So calibrate per block, and train afterwards. Where x takes fewer
        than three values, of all such polynomials this takes the one with the smallest coefficients.
        """
        values = x.detach().double().cpu().flatten()
        powers = torch.stack([torch.ones_like(values), values, values.square()], dim=1)
        targets = wanted.detach().double().cpu().reshape(-1, 1)
        solution = torch.linalg.lstsq(powers, targets, driver="gelsd").solution
        self.coefficients.copy_(solution[:, 0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the polynomial of every value."""
        c0, c1, c2 = self.coefficients.unbind()
        return (c2 * x + c1) * x + c0
