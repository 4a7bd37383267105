"""Sums and products of tensors with each other, with constants and with numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from mpcvit.export.builder import Value
from mpcvit.export.traced.call import AtenCall, AtenResult
from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.export.traced.precision import stream_sum, times


def lower_add(call: AtenCall) -> AtenResult:
    """Return a sum or a difference."""
    left, right, sign = call["input"], call["other"], -1 if call.op in ("sub", "rsub") else 1
    if call["alpha"] != 1:
        raise call.unsupported("alpha=1")
    if call.op == "rsub":
        left, right = right, left
    if _public(left) or isinstance(left, torch.Tensor):
        x = call.whole(right)
        return _plus(call, call.b.scale(f"{call.name}.negative", x, -1.0, 0) if sign < 0 else x, left, 1)
    if _public(right) or isinstance(right, torch.Tensor):
        return _plus(call, call.whole(left), right, sign)
    x, y = _ranked(call, "left", call.whole(left)), _ranked(call, "right", call.whole(right))
    return stream_sum(call.b, call.name, x, call.b.scale(f"{call.name}.negative", y, -1.0, 0) if sign < 0 else y)


def _plus(call: AtenCall, x: Value, other: Any, sign: int) -> Value:
    """Return x plus a number or a constant."""
    if _public(other):
        return call.b.offset(call.name, x, sign * float(other))
    parameter = call.b.parameter(f"{call.name}.constant", sign * other, x.type.frac)
    total = call.b.add(call.name, _ranked(call, "input", x), parameter)
    if x.radius is None or x.type.shape[-1] != call.shape[-1]:
        return total
    longest = float(other.expand(call.shape).norm(dim=-1).max()) + call.b.rounding(total)
    return replace(total, radius=x.radius + longest)


def lower_mul(call: AtenCall) -> AtenResult:
    """Return a product, not rescaled."""
    left, right = call["input"], call["other"]
    if _public(left) or isinstance(left, torch.Tensor):
        left, right = right, left
    return _product(call, call.shortened(left), right)


def lower_div(call: AtenCall) -> AtenResult:
    """Return the quotient by a number or a constant, not rescaled."""
    other = call["other"]
    if call.get("rounding_mode") is not None or not (_public(other) or isinstance(other, torch.Tensor)):
        raise call.unsupported("a divisor that does not depend on the picture")
    if isinstance(call["input"], torch.Tensor):
        raise call.unsupported("a dividend that depends on the picture")
    return _product(call, call.ordinary(), 1 / other)


def _product(call: AtenCall, x: Value, other: Any) -> Value:
    """Return x, of ordinary precision, times a number, a constant or another value."""
    if _public(other):
        return times(call.b, call.name, x, float(other))
    x = _ranked(call, "input", x)
    if isinstance(other, torch.Tensor):
        return call.b.multiply(call.name, x, call.b.parameter(f"{call.name}.constant", other))
    other = _ranked(call, "other", call.shortened(other))
    return call.b.square(call.name, x) if other.name == x.name else call.b.multiply(call.name, x, other)


def lower_neg(call: AtenCall) -> AtenResult:
    """Return the negative."""
    return call.b.scale(call.name, call.exact(), -1.0, 0)


def lower_square(call: AtenCall) -> AtenResult:
    """Return the square, not rescaled."""
    if call.get("exponent", 2) != 2:
        raise call.unsupported("the exponent 2")
    return call.b.square(call.name, call.ordinary())


def _public(argument: Any) -> bool:
    return isinstance(argument, int | float)


def _ranked(call: AtenCall, part: str, x: Value) -> Value:
    """Return x with as many axes as the result has."""
    missing = len(call.shape) - len(x.type.shape)
    return call.b.reshape(f"{call.name}.{part}_ranked", x, *(1,) * missing, *x.type.shape) if missing else x


ADD = AtenLowering(("add", "sub", "rsub"), lower_add)
MUL = AtenLowering(("mul",), lower_mul)
DIV = AtenLowering(("div",), lower_div)
NEG = AtenLowering(("neg",), lower_neg)
SQUARE = AtenLowering(("pow", "square"), lower_square)
