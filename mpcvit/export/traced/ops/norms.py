"""Layer norm, group norm with one group, and vectors of length 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import Division, normed
from mpcvit.export.parts import Role
from mpcvit.export.traced.call import AtenCall, AtenResult
from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.export.traced.passes.mean_centring import CENTRED
from mpcvit.export.traced.rows.normed_rows import NormedRows
from mpcvit.ops.bounds import Bounds

#: Vectors whose squares sum up to less come out shorter than 1: no factor need be larger than 4096.
_LEAST_SQUARES = 2.0**-24


def lower_layer_norm(call: AtenCall) -> AtenResult:
    """Return rows, their factors, and the norm's gain and bias: what reads them puts them together."""
    b, x, normalised = call.b, call.ordinary(), list(call["normalized_shape"])
    ones = torch.ones(normalised, dtype=torch.float64)
    gain = ones if call.tensor("weight") is None else call["weight"]
    bias = 0 * ones if call.tensor("bias") is None else call["bias"]
    if len(normalised) == 1:
        return _normed(call, x, gain, bias, centred=call.node.meta.get(CENTRED, False))
    flat = b.reshape(f"{call.name}.flat", x, *call.shape[: -len(normalised)], math.prod(normalised))
    rows = _normed(call, flat, gain.flatten(), bias.flatten(), centred=False)
    return b.reshape(f"{call.name}.grid", rows.value(b), *call.shape)


def lower_group_norm(call: AtenCall) -> AtenResult:
    """Return a norm over all channels and positions of one group."""
    if call["num_groups"] != 1:
        raise call.unsupported("one group")
    b, x, shape = call.b, call.ordinary(), call.shape
    flat = b.reshape(f"{call.name}.flat", x, shape[0], math.prod(shape[1:]))
    gain, bias = (_spread(call.tensor(part), default, shape[1:]) for part, default in (("weight", 1.0), ("bias", 0.0)))
    return b.reshape(f"{call.name}.grid", _normed(call, flat, gain, bias, centred=False).value(b), *shape)


def _spread(tensor: torch.Tensor | None, default: float, shape: Sequence[int]) -> torch.Tensor:
    """Return one number per element of the shape [channels, ...]."""
    vector = torch.full((shape[0],), default, dtype=torch.float64) if tensor is None else tensor
    return vector.repeat_interleave(math.prod(shape[1:]))


def _normed(call: AtenCall, x: Value, gain: torch.Tensor, bias: torch.Tensor, *, centred: bool) -> NormedRows:
    """Return the norm over the last axis."""
    divisor = 1.0
    if not centred:
        x, divisor = without_mean(call.b, f"{call.name}.centred", x)
    return NormedRows(call.name, normed(call.b, call.name, x, Division(call["eps"]), divisor), gain, bias)


def lower_unit_rows(call: AtenCall) -> AtenResult:
    """Return vectors along one axis divided by their lengths."""
    b, x, axis, rank = call.b, call.ordinary(), call["dim"], len(call.shape)
    order = [*(place for place in range(rank) if place != axis), axis]
    if axis != rank - 1:
        x = call.lengths.permuted(x, b.permute(f"{call.name}.last", x, *order), order)
    rows = normed(b, call.name, x, Division(max(call["eps"] ** 2, _LEAST_SQUARES), count=1))
    assert rows.factor is not None  # noqa: S101 - of a division
    known = None if rows.gain is None else Bounds.up_to(torch.full(x.type.shape, rows.gain, dtype=torch.float64))
    short = b.rescale(f"{call.name}.unit", b.multiply(f"{call.name}.scaled", x, rows.factor, known))
    if rows.gain is not None:
        short = replace(short, radius=rows.gain + b.rounding(short))
    if axis == rank - 1:
        return short
    back = sorted(range(rank), key=order.__getitem__)
    return call.lengths.permuted(short, b.permute(f"{call.name}.back", short, *back), back)


def without_mean(b: Builder, name: str, x: Value) -> tuple[Value, float]:
    """Return a multiple of x without the mean of its rows, and which multiple: from 1 up to 2.

    C x - sum(x) is exact and local; what it has more bits than x is rounded off.
    """
    count = x.type.shape[-1]
    exponent = count.bit_length() - 1
    many = b.scale(f"{name}.many", x, float(count), 0)
    change = b.subtract(f"{name}.change", many, b.sum(f"{name}.total", x, axis=-1))
    multiple = count / 2.0**exponent
    # dividing by a power of two only says that the codes have more fractional bits
    wide = b.scale(f"{name}.divided", change, 2.0**-exponent, exponent)
    short = b.rescale(name, wide, x.type.frac)
    if x.bounds is None or short.bounds is None:
        return short, multiple
    return replace(short, radius=x.largest_row * multiple + b.rounding(short)), multiple


LAYER_NORM = AtenLowering(("layer_norm",), lower_layer_norm, Role.MLP)
GROUP_NORM = AtenLowering(("group_norm",), lower_group_norm, Role.MLP)
UNIT_ROWS = AtenLowering(("unit_rows",), lower_unit_rows, Role.MLP)
