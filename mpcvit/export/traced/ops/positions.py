"""Parts of a tensor, and tensors put together: windows, shifts, class tokens. Local."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.export.traced.call import AtenCall, AtenResult, axis_of
from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.export.traced.rows.pending import Pending
from mpcvit.export.traced.take import take


def _shape(call: AtenCall) -> tuple[int, ...]:
    x = call["input"]
    return tuple(x.shape if isinstance(x, Pending) else call.exact().type.shape)


def _taken(call: AtenCall, axis: int, places: Sequence[int]) -> AtenResult:
    """Return the input at ``places`` of ``axis`` (negative)."""
    return call.move_rows(lambda name, x: take(call.b, name, x, axis, places), rows=axis != -1)


def lower_slice(call: AtenCall) -> AtenResult:
    """Return a part of an axis."""
    shape = _shape(call)
    axis = axis_of(call["dim"], shape)
    chosen = range(shape[axis])[slice(call["start"], call["end"], call["step"])]
    if list(chosen) == list(range(shape[axis])):
        whole: AtenResult = call["input"]
        return whole
    strided = _strided(call, axis, chosen)
    return _taken(call, axis, chosen) if strided is None else strided


def _strided(call: AtenCall, axis: int, chosen: range) -> AtenResult | None:
    """Return every so manieth position by a reshape, where the step divides the length; None otherwise."""
    step, size = chosen.step, _shape(call)[axis]
    if step == 1 or size % step or len(chosen) != size // step:
        return None
    start = chosen.start

    def move(name: str, x: Value) -> Value:
        before, after = x.type.shape[:axis], x.type.shape[axis:][1:]
        split = call.b.reshape(f"{name}.split", x, *before, size // step, step, *after)
        kept = call.b.slice(f"{name}.kept", split, axis, start, start + 1)
        return call.b.reshape(name, kept, *before, size // step, *after)

    return call.move_rows(move, rows=axis != -1)


def lower_select(call: AtenCall) -> AtenResult:
    """Return one position of an axis, which is gone."""
    return _selected(call, call["index"])


def _selected(call: AtenCall, index: int, suffix: str = "") -> AtenResult:
    shape = _shape(call)
    axis = axis_of(call["dim"], shape)
    place = index % shape[axis]

    def move(name: str, x: Value) -> Value:
        kept = call.b.slice(f"{name}.kept", x, axis, place, place + 1) if shape[axis] > 1 else x
        rest = [size for number, size in enumerate(x.type.shape, -len(shape)) if number != axis]
        return call.b.reshape(name, kept, *rest)

    return call.move_rows(move, rows=axis != -1, part=suffix)


def lower_unbind(call: AtenCall) -> AtenResult:
    """Return all positions of an axis, each by itself."""
    count = _shape(call)[call["dim"]]
    return tuple(_selected(call, index, f".{index}") for index in range(count))


def lower_split(call: AtenCall) -> AtenResult:
    """Return consecutive parts of an axis."""
    shape = _shape(call)
    axis = axis_of(call["dim"], shape)
    if call.op == "chunk":
        size = -(-shape[axis] // call["chunks"])
        sizes = [min(size, shape[axis] - start) for start in range(0, shape[axis], size)]
    else:
        given = call.get("split_size", call.get("split_sizes"))
        sizes = given if isinstance(given, list) else [given] * (shape[axis] // given)
        sizes = [*sizes, shape[axis] - sum(sizes)] if sum(sizes) < shape[axis] else sizes
    parts, start = [], 0
    for number, size in enumerate(sizes):
        places = range(start, start + size)

        def move(name: str, x: Value, places: range = places) -> Value:
            return take(call.b, name, x, axis, places)

        parts.append(call.move_rows(move, rows=axis != -1, part=f".{number}"))
        start += size
    return tuple(parts)


def lower_getitem(call: AtenCall) -> AtenResult:
    """Return one of several results."""
    chosen: AtenResult = call["input"][call["index"]]
    return chosen


def lower_roll(call: AtenCall) -> AtenResult:
    """Return the input with its positions shifted around."""
    shape = _shape(call)
    if len(call["dims"]) != len(call["shifts"]):
        raise call.unsupported("a shift for every one of dims")
    shifts = [(axis_of(dim, shape), shift) for dim, shift in zip(call["dims"], call["shifts"], strict=True)]

    def move(name: str, x: Value) -> Value:
        for axis, shift in shifts:
            size = shape[axis]
            x = take(call.b, f"{name}.axis{-axis}", x, axis, [(place - shift) % size for place in range(size)])
        return x

    return call.move_rows(move, rows=all(axis != -1 for axis, _ in shifts))


def lower_flip(call: AtenCall) -> AtenResult:
    """Return the input with some axes reversed."""
    shape = _shape(call)
    x = call.exact()
    for axis in (axis_of(dim, shape) for dim in call["dims"]):
        x = take(call.b, f"{call.name}.axis{-axis}", x, axis, range(shape[axis])[::-1])
    return x


def lower_repeat_interleave(call: AtenCall) -> AtenResult:
    """Return every position of an axis several times."""
    repeats, dim, shape = call["repeats"], call.get("dim"), _shape(call)
    if not isinstance(repeats, int) or dim is None:
        raise call.unsupported("one number of repeats, along one axis")
    axis = axis_of(dim, shape)
    return _taken(call, axis, [place for place in range(shape[axis]) for _ in range(repeats)])


def lower_index(call: AtenCall) -> AtenResult:
    """Return the input at constant positions of one axis."""
    shape = _shape(call)
    given = list(enumerate(call["indices"])) if call.op == "index" else [(call["dim"], call["index"])]
    given = [(dim, index) for dim, index in given if index is not None]
    if len(given) != 1 or not isinstance(given[0][1], torch.Tensor):
        raise call.unsupported("public positions along one axis")
    dim, index = given[0]
    axis = axis_of(dim, shape)
    places = (index.nonzero().flatten() if index.dtype is torch.bool else index.flatten() % shape[axis]).tolist()
    return call.b.reshape(call.name, take(call.b, f"{call.name}.taken", call.exact(), axis, places), *call.shape)


def lower_cat(call: AtenCall) -> AtenResult:
    """Return tensors one behind the other along an axis.

    Constants are zeros there, to which a parameter is added.
    """
    b, axis = call.b, axis_of(call["dim"], call.shape)
    parts = list(call["tensors"])
    if call.op == "stack":
        parts = [_with_axis(call, f"{call.name}.part{number}", part, axis) for number, part in enumerate(parts)]
    secrets = [call.whole(part) for part in parts if not isinstance(part, torch.Tensor)]
    if len({x.type.frac for x in secrets}) > 1:
        secrets = [call.shortened(x) for x in secrets]
    frac = max(x.type.frac for x in secrets)
    secrets = [b.widen_frac(f"{call.name}.aligned{number}", x, frac) for number, x in enumerate(secrets)]
    remaining, values, constants = iter(secrets), [], []
    for number, part in enumerate(parts):
        if isinstance(part, torch.Tensor):
            values.append(_zeros(b, f"{call.name}.zeros{number}", secrets[0], axis, part.shape[axis]))
            constants.append(part)
        else:
            values.append(next(remaining))
            constants.append(torch.zeros(values[-1].type.shape, dtype=torch.float64))
    joined = b.concat(call.name if len(secrets) == len(parts) else f"{call.name}.secret", values, axis)
    if len(secrets) == len(parts):
        return joined
    whole = torch.cat(constants, axis)
    total = b.add(call.name, joined, b.parameter(f"{call.name}.constants", whole, frac))
    radii = [x.radius for x in secrets if x.radius is not None]
    if axis == -1 or len(radii) < len(secrets):
        return total
    return replace(total, radius=max(*radii, float(whole.norm(dim=-1).max()) + b.rounding(total)))


def _with_axis(call: AtenCall, name: str, part: Any, axis: int) -> Any:
    """Return one of the tensors of a stack with a new axis of length 1."""
    if isinstance(part, torch.Tensor):
        return part.unsqueeze(axis)
    x = call.whole(part)
    place = len(call.shape) + axis
    return call.b.reshape(name, x, *x.type.shape[:place], 1, *x.type.shape[place:])


def _zeros(b: Builder, name: str, like: Value, axis: int, count: int) -> Value:
    """Return ``count`` zeros along ``axis`` (negative), as long as ``like`` along the others."""
    return b.slice(name, b.pad(f"{name}.padded", like, axis, count), axis, 0, count)


def lower_pad(call: AtenCall) -> AtenResult:
    """Return the input with zeros around it."""
    if call.get("mode", "constant") != "constant" or call["value"] not in (None, 0, 0.0):
        raise call.unsupported("zeros as padding")
    x, pairs = call.exact(), call["pad"]
    for number in range(len(pairs) // 2):
        before, behind = pairs[2 * number : 2 * number + 2]
        x = framed(call.b, f"{call.name}.axis{number + 1}", x, -number - 1, before, behind)
    return x


def framed(b: Builder, name: str, x: Value, axis: int, before: int, behind: int) -> Value:
    """Return x with zeros before and behind it along ``axis``; negative numbers take away."""
    if before < 0 or behind < 0:
        size = x.type.shape[axis]
        x = b.slice(f"{name}.cut", x, axis, max(-before, 0), size - max(-behind, 0))
    if before > 0:
        x = b.pad(f"{name}.before", x, axis, before)
    if behind > 0:
        x = b.concat(f"{name}.behind", [x, _zeros(b, f"{name}.zeros", x, axis, behind)], axis)
    return x


SLICE = AtenLowering(("slice", "narrow"), lower_slice)
SELECT = AtenLowering(("select",), lower_select)
UNBIND = AtenLowering(("unbind",), lower_unbind)
SPLIT = AtenLowering(("split", "split_with_sizes", "chunk"), lower_split)
GETITEM = AtenLowering(("getitem",), lower_getitem)
ROLL = AtenLowering(("roll",), lower_roll)
FLIP = AtenLowering(("flip",), lower_flip)
REPEAT_INTERLEAVE = AtenLowering(("repeat_interleave",), lower_repeat_interleave)
INDEX = AtenLowering(("index", "index_select"), lower_index)
CAT = AtenLowering(("cat", "stack"), lower_cat)
PAD = AtenLowering(("pad", "constant_pad_nd"), lower_pad)
