"""Division by a row factor: reciprocals for attention, reciprocal roots for norms."""

from __future__ import annotations

import math

import torch

from mpcvit.export.builder import Builder, Value, widen
from mpcvit.export.spline_fit import Function, fit_spline
from mpcvit.models.vit import LAYER_NORM_EPSILON

#: Extra fractional bits of a product that a row factor still scales.
_EXTRA_FRAC = 2


def normalise_rows(b: Builder, name: str, weights: Value, total: Value, v: Value) -> Value:
    """(weights @ v) / total, the row factor applied after the product."""
    mixed = b.rescale(f"{name}.mixed", b.matmul(f"{name}.mixed_product", weights, v))
    inverse = _row_factor(b, f"{name}.inverse", total, lambda x: 1 / x, power=-1.0)
    return b.rescale(f"{name}.output", b.multiply(f"{name}.normalised", mixed, inverse))


def normalised_affine(b: Builder, name: str, x: Value, weight: torch.Tensor, bias: torch.Tensor) -> Value:
    """x / sqrt(mean(x^2) + epsilon) @ weight + bias over the last axis, not rescaled.

    What layer norm and the linear layer behind it are once the stream has no mean. The row factor commutes with the
    linear layer, so that the product with the weights and the mean square are computed side by side.
    """
    squares = b.square(f"{name}.square", x)
    lo, hi = widen(squares.real.mean(-1) + LAYER_NORM_EPSILON, b.precision.norm_margin)
    # so many bits that the smallest mean square is known to the relative error asked for
    frac = min(squares.type.frac, math.ceil(-math.log2(b.precision.relative) - math.log2(lo)) + 1)
    mean = b.mean(f"{name}.mean", squares, axis=-1, frac=frac)
    variance = b.offset(f"{name}.variance", mean, LAYER_NORM_EPSILON, (lo, hi))
    factor = _row_factor(b, f"{name}.factor", variance, lambda v: v**-0.5, power=-0.5)
    product = b.rescale(f"{name}.unscaled", b.linear(f"{name}.matmul", x, weight), b.precision.frac + _EXTRA_FRAC)
    scaled = b.multiply(f"{name}.scaled", product, factor)
    return b.add(f"{name}.sum", scaled, b.parameter(f"{name}.bias", bias, scaled.type.frac))


def _row_factor(b: Builder, name: str, x: Value, function: Function, power: float) -> Value:
    """``function`` = x**power as a spline with the precision's relative error, and bits enough to express it."""
    bounds, relative = x.type.qtype, b.precision.relative
    smallest = bounds.hi**power
    frac = math.ceil(-math.log2(relative * smallest)) + 1  # a rounding is half the tolerance at most
    fit = fit_spline(
        function, lambda v: relative * function(v), lo=bounds.lo, hi=bounds.hi, input_frac=x.type.frac, frac=frac
    )
    return b.spline(name, x, fit, x.real**power, frac)
