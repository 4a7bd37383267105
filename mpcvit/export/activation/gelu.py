"""GELU as a quadratic spline on a uniform grid."""

from __future__ import annotations

import math

import numpy as np
import torch

from mpcvit.export.activation.lowering import ActivationLowering
from mpcvit.export.builder import Builder, Value
from mpcvit.export.spline_fit import Floats, fit_grid
from mpcvit.models.kinds import Activation

#: A grid of 64 knots or more holds so much of the next power of two.
_FILLED = 63 / 64


def _gelu(x: Floats) -> Floats:
    return torch.nn.functional.gelu(torch.from_numpy(x)).numpy()


def lower_gelu(b: Builder, name: str, x: Value, unit: float = 1.0) -> Value:
    """Return GELU on the range of x, within the precision's absolute tolerance, or what a coarse result allows.

    Args:
        unit: x is so many times what the activation reads; see :func:`unit_of`.
    """
    fit = fit_grid(
        lambda v: _gelu(v / unit),
        lambda v: np.full_like(v, b.slack(name, b.precision.activation_tolerance)),
        lo=x.type.qtype.lo,
        hi=x.type.qtype.hi,
        input_frac=x.type.frac,
        frac=b.frac(name),
    )
    return b.spline(name, x, fit, torch.nn.functional.gelu(x.real / unit))


def unit_of(lo: float, hi: float) -> float:
    """Return the factor, from 63/64 up to twice that, with which [lo, hi] fills a grid whose knots are a power of two
    apart.

    Grids have a power of two of knots, and half of them would often lie beyond the range; what reads the activation's
    input costs the same in any unit.
    """
    span = hi - lo
    return _FILLED * 2.0 ** math.ceil(math.log2(span / _FILLED)) / span


LOWERING = ActivationLowering(Activation.GELU, lower_gelu)
