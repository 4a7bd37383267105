"""From a module to a graph of ATen ops."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec

from mpcvit.errors import ConfigError
from mpcvit.export.traced.graph import TracedGraph

_SHOWN = 400


def trace(module: nn.Module, input_shape: tuple[int, ...]) -> TracedGraph:
    """Return the graph of ``module`` in eval mode for one picture, its constants in float64.

    Args:
        input_shape: [channels, height, width], or the shape of another input.

    Raises:
        ConfigError: ``torch.export`` cannot trace the module, or it gives something else than one tensor.
    """
    exported = _exported(copy.deepcopy(module).eval().float(), torch.zeros(1, *input_shape))
    if len(exported.graph_signature.user_outputs) != 1:
        raise ConfigError(
            f"a module that returns {len(exported.graph_signature.user_outputs)} values",
            expected="one tensor of logits [1, classes] for one picture",
            remedy="Wrap the module in one whose forward returns the logits alone.",
        )
    nodes = {node.name: node for node in exported.graph.nodes}
    constants: dict[fx.Node, Any] = {}
    pictures = []
    for spec in exported.graph_signature.input_specs:
        node = nodes[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            pictures.append(node)
        else:
            constants[node] = _constant(exported, spec)
    return TracedGraph(exported.graph, constants, pictures[0])


def _exported(module: nn.Module, picture: torch.Tensor) -> ExportedProgram:
    """Return the program of ``module``: functional, dropouts removed."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecations inside torch
            exported: ExportedProgram = torch.export.export(module, (picture,), strict=False).run_decompositions({})
            return exported
    except Exception as error:  # whatever the module's code raises
        raise ConfigError(
            f"a module that torch.export cannot trace: {_first_lines(error)}",
            expected=f"a module that takes a picture {list(picture.shape)}, without control flow that depends "
            "on values",
            remedy="Try torch.export.export(module.eval(), (picture,)), and change what it complains about.",
        ) from error


def _constant(exported: ExportedProgram, spec: InputSpec) -> Any:
    """Return the parameter, buffer or literal tensor that an input of the graph is; floats as float64."""
    name = str(spec.target)
    found: Any = exported.state_dict[name] if name in exported.state_dict else exported.constants[name]
    if isinstance(found, torch.Tensor):
        return found.detach().double() if found.is_floating_point() else found.detach()
    return found


def _first_lines(error: Exception) -> str:
    """Return the beginning of a message that may be pages long."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) < _SHOWN else f"{text[:_SHOWN]} .."
