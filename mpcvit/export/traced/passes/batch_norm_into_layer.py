"""Batch norms become part of the layer before them, or else a product and a sum per channel."""

from __future__ import annotations

import torch
from torch import fx

from mpcvit.export.traced.graph import TracedGraph, arguments_of, op_of, shape_of
from mpcvit.export.traced.passes.layers import TracedLayer, along

_BATCH_NORM = "_native_batch_norm_legit_no_training"


def fold_batch_norms(traced: TracedGraph) -> None:
    """Replace every batch norm."""
    for node in list(traced.graph.nodes):
        if op_of(node) == _BATCH_NORM:
            (result,) = node.users  # item 0: the others are statistics, which nothing reads
            source = node.args[0]
            gain, offset = _affine(traced, node)
            layer = TracedLayer.of(traced, source) if len(source.users) == 1 else None
            if layer is None or layer.axis != 1:
                result.replace_all_uses_with(_per_channel(traced, result, source, gain, offset))
            else:
                layer.replace(traced, *_scaled(layer, gain, offset))
                result.replace_all_uses_with(source)
    traced.clean()


def _affine(traced: TracedGraph, node: fx.Node) -> tuple[torch.Tensor, torch.Tensor]:
    """Return gain and offset [channels] of a batch norm."""
    arguments = arguments_of(node)
    mean, variance = traced.constants[arguments["running_mean"]], traced.constants[arguments["running_var"]]
    weight, bias = traced.tensor(arguments["weight"]), traced.tensor(arguments["bias"])
    gain = (variance + arguments["eps"]).rsqrt() * (1.0 if weight is None else weight)
    return gain, (0.0 if bias is None else bias) - mean * gain


def _scaled(layer: TracedLayer, gain: torch.Tensor, offset: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of ``layer`` with an affine map of its outputs behind it."""
    return layer.weight * gain.reshape(along(0, layer.weight.ndim)), layer.bias * gain + offset


def _per_channel(
    traced: TracedGraph, node: fx.Node, source: fx.Node, gain: torch.Tensor, offset: torch.Tensor
) -> fx.Node:
    """Return source * gain + offset per channel (axis 1)."""
    shape = along(1, len(shape_of(source)))
    factors = traced.constant(f"{node.name}_gain", gain.reshape(shape))
    terms = traced.constant(f"{node.name}_offset", offset.reshape(shape))
    with traced.graph.inserting_before(node):
        product = traced.graph.call_function(torch.ops.aten.mul.Tensor, (source, factors))
        total = traced.graph.call_function(torch.ops.aten.add.Tensor, (product, terms))
    product.meta, total.meta = dict(node.meta), dict(node.meta)
    return total
