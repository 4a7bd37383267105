"""Division by a row factor: reciprocals for attention, reciprocal roots for norms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.export.affine import Affine
from mpcvit.export.builder import Builder, Value, widen
from mpcvit.export.spline_fit import Floats, Function
from mpcvit.export.split_fit import fit_split
from mpcvit.models.norm import LayerNorm, TokenNorm

#: Extra fractional bits of a product that a row factor still scales.
_EXTRA_FRAC = 2


def normalise_rows(b: Builder, name: str, weights: Value, total: Value, v: Value) -> Value:
    """(weights @ v) / total, the row factor applied after the product."""
    mixed = b.rescale(f"{name}.mixed", b.matmul(f"{name}.mixed_product", weights, v))
    inverse = _row_factor(b, f"{name}.inverse", total, lambda x: 1 / x)
    return b.rescale(f"{name}.output", b.multiply(f"{name}.normalised", mixed, inverse))


@dataclass(frozen=True)
class Division:
    """Division by sqrt(mean(y^2) + epsilon): what folding leaves of a layer norm."""

    epsilon: float

    @classmethod
    def of(cls, norm: TokenNorm) -> Division | None:
        """What is left of ``norm``; None for norms of which nothing is."""
        return cls(norm.eps) if isinstance(norm, LayerNorm) else None


@dataclass(frozen=True)
class Normed:
    """x times a factor per row, the product not computed.

    Attributes:
        factor: None for 1: norms without a division.
    """

    x: Value
    factor: Value | None


def normalised_affine(
    b: Builder,
    name: str,
    x: Value,
    weight: torch.Tensor,
    bias: torch.Tensor,
    norm: Division | None,
    divisor: int = 1,
) -> Value:
    """The norm of x / divisor over the last axis, and the linear layer behind it; not rescaled.

    For layer norm that is y / sqrt(mean(y^2) + epsilon) @ weight + bias with y = x / divisor.
    """
    return read_affine(b, name, normed(b, name, x, norm, divisor), Affine(weight, bias))


def read(b: Builder, name: str, stream: Normed, weight: torch.Tensor, first: torch.Tensor | None = None) -> Value:
    """stream @ weight, or stream @ first @ weight, not rescaled.

    The row factor commutes with the linear layer, so that the product with the weights and the sum of squares are
    computed side by side.
    """
    frac = b.precision.frac if stream.factor is None else b.precision.frac + _EXTRA_FRAC
    unscaled = b.linear(f"{name}.matmul", stream.x, weight, first=first, between=frac)
    if stream.factor is None:
        return unscaled
    return b.multiply(f"{name}.scaled", b.rescale(f"{name}.unscaled", unscaled, frac), stream.factor)


def read_affine(b: Builder, name: str, stream: Normed, layer: Affine) -> Value:
    """stream @ weight + bias, not rescaled."""
    wide = read(b, name, stream, layer.weight, layer.first)
    return b.add(f"{name}.sum", wide, b.parameter(f"{name}.bias", layer.bias, wide.type.frac))


def normed(b: Builder, name: str, x: Value, norm: Division | None, divisor: int = 1) -> Normed:
    """The norm of x / divisor, for x without a mean and with gain and bias folded into what reads it.

    Neither the mean nor the divisor is computed: layer norm's factor is a function of the sum of squares of x.
    """
    if norm is None:
        assert divisor == 1  # noqa: S101 - the head, which alone divides, has a layer norm
        return Normed(x, None)
    count, epsilon = x.type.shape[-1] * divisor**2, norm.epsilon

    def factor_of(total: Floats) -> Floats:
        return np.asarray((total / count + epsilon) ** -0.5 / divisor)

    squares = b.square(f"{name}.square", x)
    lo, hi = widen(squares.real.sum(-1), b.precision.norm_margin)
    bounds = max(lo, count * epsilon), hi
    total = b.sum(f"{name}.total", squares, axis=-1, bounds=bounds)
    # so many bits that the smallest sum is known to the relative error asked for
    wanted = math.ceil(-math.log2(b.precision.relative) - math.log2(bounds[0])) + 1
    total = b.rescale(f"{name}.sum_of_squares", total, min(total.type.frac, max(wanted, 0)))
    return Normed(x, _row_factor(b, f"{name}.factor", total, factor_of))


def _row_factor(b: Builder, name: str, x: Value, function: Function) -> Value:
    """A falling function as two splines, with bits enough to express it.

    Its error is the precision's relative one, and as much again as the rounding of x changes it where that is more.
    """
    bounds, relative = x.type.qtype, b.precision.relative
    unit = 2.0**-x.type.frac
    smallest = float(function(np.array(bounds.hi)))
    frac = math.ceil(-math.log2(relative * smallest)) + 1  # a rounding is half the tolerance at most

    def tolerance(v: Floats) -> Floats:
        return np.asarray(np.maximum(relative * function(v), (function(v) - function(v + unit)) / 2))

    fit = fit_split(function, tolerance, lo=bounds.lo, hi=bounds.hi, input_frac=x.type.frac, frac=frac)
    return b.split_spline(name, x, fit, torch.from_numpy(function(x.real.numpy())), frac)
