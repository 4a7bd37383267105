"""The quadratic activation: one square, public factors, one rescale."""

from __future__ import annotations

from mpcvit.export.builder import Builder, Value
from mpcvit.models.activation import QUAD_COEFFICIENTS


def lower_quad(b: Builder, name: str, x: Value) -> Value:
    """c2 x^2 + c1 x + c0; the coefficients are powers of two, so nothing is rounded before the end."""
    c0, c1, c2 = QUAD_COEFFICIENTS
    extra = 3  # fractional bits of the smallest coefficient
    square = b.scale(f"{name}.quadratic", b.square(f"{name}.square", x), c2, extra)
    line = b.scale(f"{name}.line", x, c1, square.type.frac - x.type.frac)
    total = b.offset(f"{name}.sum", b.add(f"{name}.polynomial", square, line), c0)
    return b.rescale(name, total)
