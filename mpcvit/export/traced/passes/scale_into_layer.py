"""Layer scale: factors per channel behind a layer become part of it."""

from __future__ import annotations

import torch
from torch import fx

from mpcvit.export.traced.graph import TracedGraph, arguments_of, op_of, shape_of
from mpcvit.export.traced.passes.layers import TracedLayer, along


def fold_scales(traced: TracedGraph) -> None:
    """Fold every product of a layer's result, which nothing else reads, with constant factors per channel."""
    for node in list(traced.graph.nodes):
        if op_of(node) != "mul":
            continue
        arguments = arguments_of(node)
        for source, other in ((arguments["input"], arguments["other"]), (arguments["other"], arguments["input"])):
            factors = traced.tensor(other)
            if isinstance(source, fx.Node) and factors is not None and _folded(traced, node, source, factors):
                break
    traced.clean()


def _folded(traced: TracedGraph, node: fx.Node, source: fx.Node, factors: torch.Tensor) -> bool:
    """Return whether the product could be folded, and was."""
    layer = TracedLayer.of(traced, source)
    if layer is None or len(source.users) != 1:
        return False
    shape = shape_of(source)
    vector = _per_output(factors, layer.axis, shape) if shape == shape_of(node) else None
    if vector is None:
        return False
    layer.replace(traced, layer.weight * vector.reshape(along(0, layer.weight.ndim)), layer.bias * vector)
    node.replace_all_uses_with(source)
    return True


def _per_output(factors: torch.Tensor, axis: int, shape: tuple[int, ...]) -> torch.Tensor | None:
    """Return the factors as a vector [outputs]; None if they differ along other axes."""
    whole = factors.reshape((1,) * (len(shape) - factors.ndim) + tuple(factors.shape))
    if any(size != 1 for place, size in enumerate(whole.shape) if place != axis):
        return None
    return whole.flatten().expand(shape[axis])
