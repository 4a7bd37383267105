"""What does not depend on the picture is computed once: position biases, masks, expanded class tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from mpcvit.export.traced.graph import TracedGraph


def fold_constants(traced: TracedGraph) -> None:
    """Evaluate every call that reads constants alone, in float64."""
    traced.clean()  # assertions on types, which were those of float32
    for node in traced.graph.nodes:
        if node.op == "call_function" and all(source in traced.constants for source in node.all_input_nodes):
            args, kwargs = (fx.node.map_arg(part, traced.constants.__getitem__) for part in (node.args, node.kwargs))
            traced.constants[node] = _double(node.target(*args, **kwargs))


def _double(value: Any) -> Any:
    """Return floats as float64: literal tensors of a module may be narrower."""
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    return type(value)(map(_double, value)) if isinstance(value, list | tuple) else value
