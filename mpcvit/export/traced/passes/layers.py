"""Linear layers and convolutions of a traced graph, and how passes give them other weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from mpcvit.export.traced.graph import TracedGraph, arguments_of, op_of, shape_of

_LAYERS = {"linear", "conv2d"}


@dataclass(frozen=True)
class TracedLayer:
    """A layer of constant weights.

    Attributes:
        weight: [out, ...].
        bias: [out].
        axis: that of the outputs in the layer's result, counted from the front.
    """

    node: fx.Node
    weight: torch.Tensor
    bias: torch.Tensor
    axis: int

    @classmethod
    def of(cls, traced: TracedGraph, node: fx.Node) -> TracedLayer | None:
        """Return the layer that ``node`` is; None if it is something else, or its weights depend on the picture."""
        if op_of(node) not in _LAYERS:
            return None
        arguments = arguments_of(node)
        weight, bias = traced.tensor(arguments["weight"]), traced.tensor(arguments["bias"])
        if weight is None or (bias is None and arguments["bias"] is not None):
            return None
        axis = len(shape_of(node)) - 1 if op_of(node) == "linear" else 1
        return cls(node, weight, weight.new_zeros(len(weight)) if bias is None else bias, axis)

    def replace(self, traced: TracedGraph, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Give the layer other weights; constants that others read stay."""
        name = self.node.name
        new = {"weight": traced.constant(f"{name}_weight", weight), "bias": traced.constant(f"{name}_bias", bias)}
        arguments = {**arguments_of(self.node), **new}
        self.node.args = tuple(arguments.values())
        self.node.kwargs = {}


def along(axis: int, rank: int) -> tuple[int, ...]:
    """Return the shape that lays a vector along ``axis`` of a tensor of that rank."""
    return tuple(-1 if place == axis else 1 for place in range(rank))
