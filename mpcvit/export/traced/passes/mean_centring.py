"""Layer norm subtracts a mean; where a stream is read by norms alone, what writes it loses that mean instead.

From every norm the pass walks back through sums, copies and other shapes, with the axis of the channels, until it comes
to layers and constants. If all of a stream ends there, and nothing but norms reads it, the norms need no mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from mpcvit.export.traced.graph import TracedGraph, arguments_of, op_of, shape_of
from mpcvit.export.traced.lengths import axis_in_view
from mpcvit.export.traced.passes.layers import TracedLayer

#: On norms: their input has no mean.
CENTRED = "centred"
#: On layers: norms read what they write, so that its length matters.
STREAMED = "streamed"

_RESHAPES = {"view", "_unsafe_view", "reshape", "flatten", "unsqueeze", "squeeze"}
_SAME_AXES = {"add", "sub", "clone", "alias", "cat", "slice", "roll", "expand", "split", "split_with_sizes", "chunk"}
#: Whose ``dim`` must not be the channels'.
_ALONG = {"cat", "slice", "roll", "split", "split_with_sizes", "chunk"}


@dataclass
class _Stream:
    """Nodes that have no mean together, or not at all.

    Attributes:
        axes: by node, the axis of the channels.
        uses: the constants in sums and concatenations, by the node that reads them, with their axis there.
    """

    axes: dict[fx.Node, int] = field(default_factory=dict)
    uses: list[tuple[fx.Node, fx.Node, int]] = field(default_factory=list)
    layers: list[TracedLayer] = field(default_factory=list)
    norms: set[fx.Node] = field(default_factory=set)


def centre_streams(traced: TracedGraph) -> None:
    """Take the mean out of every stream that can do without, and mark the norms that read it."""
    seen: set[fx.Node] = set()
    for node in list(traced.graph.nodes):
        if _normalises_channels(node) and node not in seen:
            stream = _Stream()
            sound = _collect(traced, stream, node)
            seen |= stream.norms
            for layer in stream.layers:
                layer.node.meta[STREAMED] = True
            if sound:
                _centre(traced, stream)
    traced.clean()


def _normalises_channels(node: fx.Node) -> bool:
    return op_of(node) == "layer_norm" and len(arguments_of(node)["normalized_shape"]) == 1


def _collect(traced: TracedGraph, stream: _Stream, norm: fx.Node) -> bool:
    """Fill ``stream`` with all that is connected to ``norm``, and return whether it can lose its mean."""
    source = arguments_of(norm)["input"]
    pending, sound = [(source, len(shape_of(source)) - 1)], True
    while pending:
        node, axis = pending.pop()
        if node in stream.axes:
            sound = sound and stream.axes[node] == axis
            continue
        stream.axes[node] = axis
        before = _sources(traced, stream, node, axis)
        after = _readers(stream, node, axis)
        if before is None or after is None:
            # norms that are connected some other way find the same fault by themselves
            sound = False
        pending += [*(before or ()), *(after or ())]
    return sound


def _sources(traced: TracedGraph, stream: _Stream, node: fx.Node, axis: int) -> list[tuple[fx.Node, int]] | None:
    """Return what must have no mean so that ``node`` has none, with axes; None if nothing helps."""
    layer = TracedLayer.of(traced, node)
    grouped = arguments_of(node).get("groups", 1) > 1 if layer is not None else False  # channels of other inputs
    if layer is not None and layer.axis == axis and not grouped:
        stream.layers.append(layer)
        return []
    place = _axis_before(node, axis)
    if place is None or (op_of(node) in ("add", "sub") and not _of_tensors(node)):
        return None
    found = []
    for source in node.all_input_nodes:
        behind = len(shape_of(source)) - len(shape_of(node)) if op_of(node) in ("add", "sub") else 0
        if source in traced.constants:
            if place + behind < 0 or shape_of(source)[place + behind] != shape_of(node)[axis]:
                return None
            stream.uses.append((node, source, place + behind))
        elif behind:
            return None
        else:
            found.append((source, place))
    return found


def _of_tensors(node: fx.Node) -> bool:
    """Whether a sum is of tensors alone: a number has a mean."""
    return all(isinstance(arguments_of(node)[name], fx.Node) for name in ("input", "other"))


def _readers(stream: _Stream, node: fx.Node, axis: int) -> list[tuple[fx.Node, int]] | None:
    """Return the nodes behind ``node`` that have no mean if it has none; None if one reads the mean."""
    found = []
    for user in node.users:
        if _normalises_channels(user) and axis == len(shape_of(node)) - 1:
            stream.norms.add(user)
            continue
        place = _axis_behind(user, node, axis)
        if place is None:
            return None
        found.append((user, place))
    return found


def _axis_behind(user: fx.Node, node: fx.Node, axis: int) -> int | None:
    """Return the axis of ``user`` whose mean is gone if that of ``node`` along ``axis`` is; None if there is none."""
    axes = range(len(shape_of(user)))
    if op_of(user) == "getitem":
        return axis
    if op_of(user) in ("unbind", "split", "split_with_sizes", "chunk"):  # a tuple: the axis of its members
        members = [shape_of(item) for item in user.users]
        axes = range(len(members[0])) if members else range(0)
    return next((place for place in axes if _axis_before(user, place) == axis), None)


def _axis_before(node: fx.Node, axis: int) -> int | None:
    """Return the axis of the inputs of ``node`` that is ``axis`` of its result; None if there is no such axis."""
    op = op_of(node)
    if op == "getitem":
        return axis
    if op not in _SAME_AXES | _RESHAPES | {"permute", "transpose", "select", "unbind", "mean"}:
        return None
    arguments = arguments_of(node)
    source: fx.Node = arguments["input"] if "input" in arguments else arguments["tensors"][0]
    rank = len(shape_of(source))
    if op in _RESHAPES:
        return axis_in_view(shape_of(node), shape_of(source), axis)
    return _axis_behind_order(op, arguments, axis, rank)


def _axis_behind_order(op: str, arguments: dict[str, Any], axis: int, rank: int) -> int | None:
    """Return the axis of the input of a call that orders or drops axes, or works along some."""
    if op == "permute":
        return int(arguments["dims"][axis]) % rank
    if op == "transpose":
        one, other = int(arguments["dim0"]) % rank, int(arguments["dim1"]) % rank
        return {one: other, other: one}.get(axis, axis)
    given = arguments.get("dims", arguments.get("dim"))
    dims = sorted(dim % rank for dim in ([given] if isinstance(given, int) else given or []))
    if op in ("select", "unbind") or (op == "mean" and not arguments["keepdim"]):
        kept = [place for place in range(rank) if place not in dims]
        return kept[axis]
    return None if axis in dims and op in {*_ALONG, "mean"} else axis


def _centre(traced: TracedGraph, stream: _Stream) -> None:
    """Take the mean out of all that writes ``stream``."""
    for layer in _distinct(stream.layers):
        weight, bias = layer.weight, layer.bias
        layer.replace(traced, weight - weight.mean(0), bias - bias.mean())
    for node, source, axis in stream.uses:
        tensor = traced.constants[source]
        centred = traced.constant(f"{node.name}_{source.name}", tensor - tensor.mean(axis, keepdim=True))
        node.replace_input_with(source, centred)
    for norm in stream.norms:
        norm.meta[CENTRED] = True


def _distinct(layers: Iterable[TracedLayer]) -> list[TracedLayer]:
    return list({layer.node: layer for layer in layers}.values())
