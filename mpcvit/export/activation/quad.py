"""The quadratic activation: one square, one rescale."""

from __future__ import annotations

from mpcvit.export.activation.lowering import ActivationLowering
from mpcvit.export.builder import Builder, Value
from mpcvit.models.kinds import Activation


def lower_quad(b: Builder, name: str, x: Value) -> Value:
    """Return x^2: folding has put the coefficients into the linear layers around it.

    The bound is that of x squared, not that of squares on calibration data: it holds wherever x keeps its own.
    """
    bounds = (0.0, max(x.type.qtype.lo**2, x.type.qtype.hi**2))
    return b.rescale(name, b.square(f"{name}.square", x, bounds))


LOWERING = ActivationLowering(Activation.QUAD, lower_quad)
