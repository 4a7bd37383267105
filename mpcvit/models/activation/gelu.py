"""GELU (Hendrycks and Gimpel 2016)."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from mpcvit.models.kinds import Activation


class Gelu(nn.GELU):
    """x * Phi(x) with the exact normal distribution function. Under MPC a spline of every value."""

    kind: ClassVar[Activation] = Activation.GELU
