"""Means and largest values over axes and windows."""

from __future__ import annotations

import math

import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import Normed
from mpcvit.export.parts import Role
from mpcvit.export.traced.call import AtenCall, AtenResult
from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.export.traced.ops.convolution import Window, pair
from mpcvit.export.traced.rows.normed_rows import NormedRows


def lower_mean(call: AtenCall) -> AtenResult:
    """Return the mean, or the sum, over some axes."""
    x, rank = call["input"], len(_shape(call))
    given = call.get("dim")
    dims = sorted(dim % rank for dim in ([given] if isinstance(given, int) else given or range(rank)))
    pending = isinstance(x, NormedRows) and x.normed.factor is not None
    if pending and call.op == "mean" and dims[-1] < rank - 1:
        return _mean_of_normed(call, x, dims)
    return _mean(call, call.exact(), dims)


def _shape(call: AtenCall) -> tuple[int, ...]:
    x = call["input"]
    return tuple(x.shape) if isinstance(x, NormedRows) else call.exact().type.shape


def _mean(call: AtenCall, x: Value, dims: list[int]) -> Value:
    rank = len(x.type.shape)
    count = math.prod(x.type.shape[dim] for dim in dims)
    for dim in dims:
        x = call.b.sum(f"{call.name}.sum{dim}", x, dim - rank)
    if call.op == "mean":
        x = call.b.divide(f"{call.name}.mean", x, count)
    return call.b.reshape(call.name, x, *call.shape)


def _mean_of_normed(call: AtenCall, x: NormedRows, dims: list[int]) -> NormedRows:
    """Return the mean of normed rows: the product of their factors with them, gain and bias left to what reads it."""
    b, name, rows, shape = call.b, call.name, x.normed.x, x.shape
    factor = x.normed.factor
    assert factor is not None  # noqa: S101 - a layer norm's
    rank, count = len(shape), math.prod(shape[dim] for dim in dims)
    kept = [dim for dim in range(rank - 1) if dim not in dims]
    outer = [shape[dim] for dim in kept]
    rows = b.reshape(f"{name}.rows", b.permute(f"{name}.order", rows, *kept, *dims, rank - 1), *outer, count, shape[-1])
    factor = b.permute(f"{name}.factor_order", factor, *kept, rank - 1, *dims)
    # no row is longer than the norm's gain
    known = None if x.normed.gain is None else (-count * x.normed.gain, count * x.normed.gain)
    total = b.matmul(f"{name}.total", b.reshape(f"{name}.factors", factor, *outer, 1, count), rows, known)
    pooled = b.reshape(f"{name}.mean", b.rescale(f"{name}.pooled", total), *call.shape)
    return NormedRows(name, Normed(pooled, None), x.gain / count, x.bias)


def lower_average_pool(call: AtenCall) -> AtenResult:
    """Return averages over windows of a grid [1, C, H, W]."""
    b, x = call.b, call.exact()
    line = call.op == "avg_pool1d"
    if len(x.type.shape) != (3 if line else 4):
        raise call.unsupported("a grid [1, C, H, W], or [1, C, L]")
    if line:
        return _line_average(call, x)
    window = Window.of(call, pair(call["kernel_size"]))
    grid = _grid(b, call.name, x)
    if window.border and not call["count_include_pad"]:
        if window.stride != 1 or window.side != 2 * window.border + 1:
            raise call.unsupported("windows that count their padding, or that keep the grid's size")
        total, count = b.average_pool(f"{call.name}.sums", grid, window.side)
    else:
        windows = window.unfold(b, f"{call.name}.windows", grid)
        rows, columns, _ = windows.type.shape
        count = window.side**2
        split = b.reshape(f"{call.name}.split", windows, rows, columns, count, grid.type.shape[-1])
        total = b.reshape(f"{call.name}.sums", b.sum(f"{call.name}.sum", split, -2), rows, columns, grid.type.shape[-1])
    if call.get("divisor_override"):
        raise call.unsupported("no divisor_override")
    return _picture(call, b.divide(f"{call.name}.average", total, count))


def _line_average(call: AtenCall, x: Value) -> Value:
    (side,), b, size = call["kernel_size"], call.b, x.type.shape[-1]
    if (call["stride"] or [side]) != [side] or set(call["padding"]) != {0} or size % side:
        raise call.unsupported("windows side by side")
    split = b.reshape(f"{call.name}.split", x, *x.type.shape[:-1], size // side, side)
    return b.reshape(call.name, b.mean(f"{call.name}.mean", split, -1), *call.shape)


def lower_adaptive_average_pool(call: AtenCall) -> AtenResult:
    """Return averages over a grid of equal parts."""
    b, x = call.b, call.exact()
    (rows, columns), (height, width) = call.shape[-2:], x.type.shape[-2:]
    if height % rows or width % columns:
        raise call.unsupported("a size that divides the grid's")
    lead = x.type.shape[:-2]
    split = b.reshape(f"{call.name}.split", x, *lead, rows, height // rows, columns, width // columns)
    total = b.sum(f"{call.name}.columns", b.sum(f"{call.name}.rows", split, -3), -1)
    total = b.reshape(f"{call.name}.sums", total, *call.shape)
    return b.divide(call.name, total, (height // rows) * (width // columns))


def lower_max_pool(call: AtenCall) -> AtenResult:
    """Return the largest values of windows of a grid [1, C, H, W]: a tree of comparisons.

    Borders are of zeros, so that values are moved above 0 first, by a public number.
    """
    b, x = call.b, call.ordinary()
    window = Window.of(call, pair(call["kernel_size"]))
    lowest = x.type.qtype.lo if window.border else 0.0
    moved = b.offset(f"{call.name}.raised", x, -lowest) if lowest < 0 else x
    grid = _grid(b, call.name, moved)
    windows = window.unfold(b, f"{call.name}.windows", grid)
    rows, columns, _ = windows.type.shape
    split = b.reshape(f"{call.name}.split", windows, rows, columns, window.side**2, grid.type.shape[-1])
    largest = largest_of(b, call.name, split)
    largest = b.reshape(f"{call.name}.largest", largest, rows, columns, grid.type.shape[-1])
    return _picture(call, b.offset(f"{call.name}.lowered", largest, lowest) if lowest < 0 else largest)


def largest_of(b: Builder, name: str, x: Value) -> Value:
    """Return the largest values along axis -2, kept with length 1: max(a, b) = b + ReLU(a - b), by halves."""
    level = 0
    while (count := x.type.shape[-2]) > 1:
        half, prefix = count // 2, f"{name}.max{level}"
        left = b.slice(f"{prefix}.left", x, -2, 0, half)
        right = b.slice(f"{prefix}.right", x, -2, half, 2 * half)
        excess = b.relu(f"{prefix}.excess", b.subtract(f"{prefix}.difference", left, right))
        ends = torch.stack([torch.tensor(part.assumed.hull) for part in (left, right)]) * x.type.qtype.step
        known = (float(ends.min()) - b.precision.relu_slack, float(ends.max()) + b.precision.relu_slack)
        larger = [b.add(f"{prefix}.larger", right, excess, known)]
        if count % 2:
            larger.append(b.slice(f"{prefix}.odd", x, -2, count - 1, count))
        x = b.concat(f"{prefix}.joined", larger, -2)
        level += 1
    return x


def _grid(b: Builder, name: str, x: Value) -> Value:
    """Return [1, C, H, W] as [H, W, C]."""
    return b.permute(f"{name}.grid", b.reshape(f"{name}.one", x, *x.type.shape[-3:]), 1, 2, 0)


def _picture(call: AtenCall, grid: Value) -> Value:
    """Return [H, W, C] in the shape of the result."""
    return call.b.reshape(call.name, call.b.permute(f"{call.name}.channels", grid, 2, 0, 1), *call.shape)


MEAN = AtenLowering(("mean", "sum"), lower_mean)
AVERAGE_POOL = AtenLowering(("avg_pool2d", "avg_pool1d"), lower_average_pool)
ADAPTIVE_AVERAGE_POOL = AtenLowering(("adaptive_avg_pool2d", "adaptive_avg_pool1d"), lower_adaptive_average_pool)
MAX_POOL = AtenLowering(("max_pool2d",), lower_max_pool, Role.ACTIVATION)
