"""Activations: ReLU by comparison, smooth ones as splines on a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from mpcvit.export.activation.gelu import unit_of
from mpcvit.export.builder import Builder, Value
from mpcvit.export.parts import Role
from mpcvit.export.spline_fit import fit_grid
from mpcvit.export.traced.call import AtenCall, AtenResult
from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.export.traced.precision import aligned

#: Fractional bits of the unit in which a spline reads its input.
_UNIT_BITS = 12
#: More than an input of ordinary precision is rounded up by, in its unit.
_ROUNDED = 2.0**-8
#: Farther from 0 the 256 knots of a grid are too far apart: 1/2 is what functions that bend as GELU need.
_WIDEST = 60.0

Smooth = Callable[[torch.Tensor], torch.Tensor]

_SMOOTH: dict[str, Smooth] = {
    "elu": functional.elu,
    "exp": torch.exp,
    "mish": functional.mish,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Tails:
    """How a smooth activation goes on where it is flat or straight, to 2**-14.

    Attributes:
        ends: from there on, in both directions.
        slope: beyond the upper end; below the lower one it is 0.
    """

    ends: float
    slope: float


_TAILS = {
    "elu": Tails(11.0, 1.0),
    "gelu": Tails(5.0, 1.0),
    "mish": Tails(13.0, 1.0),
    "sigmoid": Tails(11.0, 0.0),
    "silu": Tails(13.0, 1.0),
    "softplus": Tails(11.0, 1.0),
    "tanh": Tails(6.0, 0.0),
}


#: What the splines of an activation with parameters are made for.
_DEFAULTS = {"elu": {"alpha": 1, "scale": 1, "input_scale": 1}, "softplus": {"beta": 1, "threshold": 20}}


def lower_smooth(call: AtenCall) -> AtenResult:
    """Return an activation of its usual parameters, within the precision's absolute tolerance."""
    usual = _DEFAULTS.get(call.op, {})
    if any(call.get(name, value) != value for name, value in usual.items()):
        raise call.unsupported(", ".join(f"{name}={value}" for name, value in usual.items()))
    return _smooth(call, _SMOOTH[call.op])


def lower_gelu(call: AtenCall) -> AtenResult:
    """Return GELU, or its approximation by tanh if the module asks for that."""
    return _smooth(call, partial(functional.gelu, approximate=call["approximate"]))


def _smooth(call: AtenCall, function: Smooth) -> Value:
    """Return a spline on the whole range of the input, or where that is too wide, on what lies between the tails."""
    b, name, x, tails = call.b, call.name, call.exact(), _TAILS.get(call.op)
    widest = max(-x.type.qtype.lo, x.type.qtype.hi)
    if tails is None or widest <= _WIDEST:
        return spline(b, name, x, function)
    x = call.ordinary()
    inner = clamped(b, f"{name}.inner", x, -tails.ends, tails.ends)
    middle = spline(b, f"{name}.middle", inner, function)
    if not tails.slope:
        return middle
    beyond = b.relu(f"{name}.beyond", b.offset(f"{name}.from_end", x, -tails.ends))
    return b.add(name, *aligned(b, f"{name}.aligned", middle, beyond))


def lower_relu(call: AtenCall) -> AtenResult:
    """Return max(x, 0)."""
    return call.b.relu(call.name, call.gate_input())


def lower_leaky_relu(call: AtenCall) -> AtenResult:
    """Return max(x, 0) + slope * min(x, 0)."""
    b, x, slope = call.b, call.ordinary(), float(call["negative_slope"])
    positive = b.scale(f"{call.name}.above", b.relu(f"{call.name}.positive", x), 1 - slope, _UNIT_BITS)
    return b.add(call.name, positive, b.scale(f"{call.name}.below", x, slope, _UNIT_BITS))


def lower_hard(call: AtenCall) -> AtenResult:
    """Return the hard sigmoid, clamp(x / 6 + 1 / 2, 0, 1), or x times it: both have kinks that splines miss."""
    b, x = call.b, call.ordinary()
    sixth = b.rescale(f"{call.name}.sixth", b.scale(f"{call.name}.scaled", x, 1 / 6, _UNIT_BITS))
    gate = clamped(b, call.name, b.offset(f"{call.name}.middle", sixth, 0.5), 0.0, 1.0)
    return b.multiply(f"{call.name}.product", x, gate) if call.op == "hardswish" else gate


def lower_clamp(call: AtenCall) -> AtenResult:
    """Return x between two public numbers: ReLU6 and its kin."""
    default = {"relu6": (0.0, 6.0)}.get(call.op, (None, None))
    low = call.get("min", call.get("min_val", default[0]))
    high = call.get("max", call.get("max_val", default[1]))
    if not all(end is None or isinstance(end, int | float) for end in (low, high)):
        raise call.unsupported("public numbers as ends")
    return clamped(call.b, call.name, call.gate_input(), low, high)


def clamped(b: Builder, name: str, x: Value, low: float | None, high: float | None) -> Value:
    """Return x, or ``low`` or ``high`` where it is beyond."""
    if low is not None:  # low + relu(x - low)
        above = b.relu(f"{name}.above", b.offset(f"{name}.from_low", x, -float(low)))
        x = b.offset(f"{name}.at_least", above, float(low))
    if high is not None:  # high - relu(high - x)
        below = b.offset(f"{name}.to_high", b.scale(f"{name}.negative", x, -1.0, 0), float(high))
        below = b.scale(f"{name}.minus", b.relu(f"{name}.below", below), -1.0, 0)
        x = b.offset(f"{name}.at_most", below, float(high))
    return x


def spline(b: Builder, name: str, x: Value, function: Smooth) -> Value:
    """Return a smooth function of x on the range of x, at ordinary precision."""
    x, unit = _stretched(b, name, x)
    fit = fit_grid(
        lambda v: function(torch.from_numpy(v / unit)).numpy(),
        lambda v: np.full_like(v, b.slack(name, b.precision.activation_tolerance)),
        lo=x.type.qtype.lo,
        hi=x.type.qtype.hi,
        input_frac=x.type.frac,
        frac=b.frac(name),
    )
    return b.spline(name, x, fit, function(x.real / unit))


def _stretched(b: Builder, name: str, x: Value) -> tuple[Value, float]:
    """Return x in a unit in which its range fills a grid, and that unit; as it is, if it needs no rescale."""
    if x.type.frac <= b.precision.frac:
        return x, 1.0
    lo, hi = x.type.qtype.lo, x.type.qtype.hi
    unit = round(unit_of(lo, hi) * 2.0**_UNIT_BITS) / 2.0**_UNIT_BITS
    scaled = b.scale(f"{name}.stretched", x, unit, _UNIT_BITS)
    rounded = max(_ROUNDED, 2.0 ** -b.frac(f"{name}.input"))
    return b.rescale(f"{name}.input", scaled, public=(lo * unit - rounded, hi * unit + rounded)), unit


SMOOTH = AtenLowering(tuple(_SMOOTH), lower_smooth, Role.ACTIVATION)
GELU = AtenLowering(("gelu",), lower_gelu, Role.ACTIVATION)
RELU = AtenLowering(("relu",), lower_relu, Role.ACTIVATION)
LEAKY_RELU = AtenLowering(("leaky_relu",), lower_leaky_relu, Role.ACTIVATION)
HARD = AtenLowering(("hardsigmoid", "hardswish"), lower_hard, Role.ACTIVATION)
CLAMP = AtenLowering(("clamp", "clamp_min", "hardtanh", "relu6"), lower_clamp, Role.ACTIVATION)
