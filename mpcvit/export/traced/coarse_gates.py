"""Activations whose result only quantized layers read, and so may be as coarse as these read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import fx

from mpcvit.export.traced.graph import TracedGraph, op_of, path_of, value_name
from mpcvit.export.traced.passes.layers import TracedLayer

#: Activations with a gate.
_GATES = {"relu", "relu6", "clamp", "hardtanh", "elu", "gelu", "mish", "sigmoid", "silu", "softplus", "tanh"}
#: Those whose gate is a comparison, not a spline.
_COMPARED = {"relu", "relu6", "clamp", "hardtanh"}
#: Ops that move elements and change none.
_MOVES = {
    "alias",
    "cat",
    "clone",
    "contiguous",
    "flatten",
    "permute",
    "reshape",
    "select",
    "slice",
    "squeeze",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view",
    "_unsafe_view",
}
#: A gate reads its input this much finer than its result is known, so that rounding both costs little more than one.
READ_FINER = 2


def coarse_gates(traced: TracedGraph, steps: Mapping[str, float]) -> tuple[dict[str, float], set[str]]:
    """Return how coarse values at gates may be, by name as :attr:`mpcvit.export.builder.Precision.steps` has them;
    and the layers whose steps these are.

    Args:
        traced: the module's graph, rewritten.
        steps: by the path of a layer, the step between the values that it reads.
    """
    values: dict[str, float] = {}
    layers: set[str] = set()
    for node in traced.graph.nodes:
        if op_of(node) not in _GATES:
            continue
        readers = list(_readers(node))
        paths = [path_of(reader) for reader in readers]
        # the weights of a layer are constants, so that what it reads is the gate's result
        layers_only = all(TracedLayer.of(traced, reader) is not None for reader in readers)
        if not readers or not layers_only or not all(path in steps for path in paths):
            continue
        step, name = min(steps[path] for path in paths), value_name(node)
        read = "read" if op_of(node) in _COMPARED else "input"
        values |= {name: step, f"{name}.{read}": step / READ_FINER}
        layers.update(paths)
    return values, layers


def _readers(node: fx.Node) -> Iterator[fx.Node]:
    """Yield what computes with the elements of ``node``."""
    for user in node.users:
        if op_of(user) in _MOVES:
            yield from _readers(user)
        else:
            yield user
