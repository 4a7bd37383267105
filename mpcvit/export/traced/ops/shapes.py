"""Other shapes, and axes in another order: local."""

from __future__ import annotations

from mpcvit.export.builder import Value
from mpcvit.export.traced.call import AtenCall, AtenResult, axis_of
from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.export.traced.rows.pending import Pending


def _input_shape(call: AtenCall) -> tuple[int, ...]:
    x = call["input"]
    return tuple(x.shape if isinstance(x, Pending) else call.exact().type.shape)


def lower_reshape(call: AtenCall) -> AtenResult:
    """Return the input in another shape."""
    shape, before = call.shape, _input_shape(call)

    def move(name: str, x: Value) -> Value:
        last = shape[-1] if x.type.shape[-1] == before[-1] else x.type.shape[-1]
        return call.lengths.reshaped(x, call.b.reshape(name, x, *shape[:-1], last))

    return call["input"] if shape == before else call.move_rows(move, rows=shape[-1:] == before[-1:])


def lower_permute(call: AtenCall) -> AtenResult:
    """Return the input with its axes in another order."""
    rank = len(call.shape)
    if call.op == "permute":
        order = [dim % rank for dim in call["dims"]]
    else:
        one, other = (0, 1) if call.op == "t" else (call["dim0"], call["dim1"])
        order = list(range(rank))
        order[one], order[other] = order[other], order[one]

    def move(name: str, x: Value) -> Value:
        return call.lengths.permuted(x, call.b.permute(name, x, *order), order)

    return call.move_rows(move, rows=order[-1] == rank - 1)


def lower_expand(call: AtenCall) -> AtenResult:
    """Return the input, repeated along axes of length 1."""
    x = call.exact()
    shape = (1,) * (len(call.shape) - len(x.type.shape)) + x.type.shape
    if shape != x.type.shape:
        x = call.b.reshape(f"{call.name}.ranked", x, *shape)
    for place, (size, wanted) in enumerate(zip(shape, call.shape, strict=True)):
        if size != wanted:
            x = call.b.concat(f"{call.name}.axis{place}", [x] * wanted, axis_of(place, call.shape))
    return x


def lower_repeat(call: AtenCall) -> AtenResult:
    """Return the input, repeated as a whole."""
    x = call.exact()
    counts = call["repeats"]
    x = call.b.reshape(f"{call.name}.ranked", x, *(1,) * (len(counts) - len(x.type.shape)), *x.type.shape)
    for place, count in enumerate(counts):
        if count > 1:
            x = call.b.concat(f"{call.name}.axis{place}", [x] * count, axis_of(place, counts))
    return x


RESHAPE = AtenLowering(
    ("view", "_unsafe_view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "clone", "alias"), lower_reshape
)
PERMUTE = AtenLowering(("permute", "transpose", "t"), lower_permute)
EXPAND = AtenLowering(("expand",), lower_expand)
REPEAT = AtenLowering(("repeat",), lower_repeat)
