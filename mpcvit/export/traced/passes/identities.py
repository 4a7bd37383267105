"""Calls that give their input: copies, memory layouts, casts between floats, dropout out of training."""

from __future__ import annotations

from torch import fx

from mpcvit.export.traced.graph import TracedGraph, arguments_of, op_of, shape_of

#: Ops that return the first argument where it has the result's shape.
_IDENTITIES = {
    "alias",
    "clone",
    "contiguous",
    "detach",
    "dropout",
    "expand",
    "identity",
    "lift_fresh_copy",
    "pad",
    "reshape",
    "view",
    "_unsafe_view",
    "_to_copy",
    "to",
    "type_as",
}


def drop_identities(traced: TracedGraph) -> None:
    """Replace every identity by its input."""
    for node in list(traced.graph.nodes):
        if op_of(node) not in _IDENTITIES:
            continue
        source = arguments_of(node)["input"]
        if op_of(node) == "pad" and any(arguments_of(node)["pad"]):  # what comes in at one end goes out at the other
            continue
        if isinstance(source, fx.Node) and shape_of(source) == shape_of(node) and _both_floats(source, node):
            node.replace_all_uses_with(source)
    traced.clean()


def _both_floats(source: fx.Node, result: fx.Node) -> bool:
    return all(node.meta["val"].dtype.is_floating_point for node in (source, result))
