"""GELU (Hendrycks and Gimpel 2016)."""

from __future__ import annotations

from torch import nn


class Gelu(nn.GELU):
    """x * Phi(x) with the exact normal distribution function. Under MPC a spline of every value."""
