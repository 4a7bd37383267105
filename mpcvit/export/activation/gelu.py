"""GELU as a quadratic spline on a uniform grid."""

from __future__ import annotations

import numpy as np
import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.export.spline_fit import Floats, fit_grid


def _gelu(x: Floats) -> Floats:
    return torch.nn.functional.gelu(torch.from_numpy(x)).numpy()


def lower_gelu(b: Builder, name: str, x: Value) -> Value:
    """GELU on the calibrated range, within the precision's absolute tolerance, or what a coarse result allows."""
    fit = fit_grid(
        _gelu,
        lambda v: np.full_like(v, b.slack(name, b.precision.activation_tolerance)),
        lo=x.type.qtype.lo,
        hi=x.type.qtype.hi,
        input_frac=x.type.frac,
        frac=b.frac(name),
    )
    return b.spline(name, x, fit, torch.nn.functional.gelu(x.real))
