"""From a traced graph to values of a Program, call by call."""

from __future__ import annotations

from typing import Any

from torch import fx

from mpcvit.export.builder import Builder, Value
from mpcvit.export.traced.call import AtenCall, AtenResult, unsupported_call
from mpcvit.export.traced.graph import TracedGraph, arguments_of, op_of, path_of, shape_of, value_name
from mpcvit.export.traced.lengths import Lengths
from mpcvit.export.traced.ops import LOWERINGS


def check_ops(traced: TracedGraph) -> None:
    """See that every call has a lowering.

    Raises:
        ConfigError: one has none; the message names the module, the op, and the shapes.
    """
    for node in traced.graph.nodes:
        if node.op == "call_function" and node not in traced.constants and op_of(node) not in LOWERINGS:
            listed = ", ".join(sorted(LOWERINGS))
            raise unsupported_call(path_of(node), op_of(node), _shapes(node), f"one of the ops {listed}")


def lower_graph(b: Builder, traced: TracedGraph, picture: AtenResult) -> Value:
    """Return the answer of the graph for ``picture``, at ordinary precision.

    Raises:
        ConfigError: a call has no lowering, or not for its arguments.
        RangeError: values do not fit fixed point.
    """
    lowered: dict[fx.Node, Any] = {traced.picture: picture}
    rescaled: dict[str, Value] = {}
    lengths = Lengths()
    last_reader = {source: node for node in traced.graph.nodes for source in node.all_input_nodes}
    for node in traced.graph.nodes:
        if node.op == "call_function" and node not in traced.constants:
            lowered[node] = _lower(b, traced, lowered, node, rescaled, lengths)
            for source in node.all_input_nodes:
                if last_reader[source] is node:  # real values of the calibration take memory
                    lowered.pop(source, None)
    answer = lowered[traced.output]
    whole = answer.value(b) if not isinstance(answer, Value) else answer
    return whole if whole.type.frac <= b.precision.frac else b.rescale("answer", whole)


def _lower(
    b: Builder,
    traced: TracedGraph,
    lowered: dict[fx.Node, Any],
    node: fx.Node,
    rescaled: dict[str, Value],
    lengths: Lengths,
) -> AtenResult:
    def resolve(source: fx.Node) -> Any:
        return lowered[source] if source in lowered else traced.constants[source]

    arguments = {name: _resolved(argument, resolve) for name, argument in arguments_of(node).items()}
    path, name = path_of(node), value_name(node)
    lowering = LOWERINGS[op_of(node)]
    with b.scope(lowering.role):
        return lowering.lower(AtenCall(b, name, path, op_of(node), shape_of(node), arguments, node, rescaled, lengths))


def _resolved(argument: Any, resolve: Any) -> Any:
    """Return an argument with nodes replaced by what they are."""
    if isinstance(argument, fx.Node):
        return resolve(argument)
    if isinstance(argument, list | tuple):
        return [_resolved(part, resolve) for part in argument]
    return argument


def _shapes(node: fx.Node) -> dict[str, str]:
    found = {}
    for name, argument in arguments_of(node).items():
        if isinstance(argument, fx.Node):
            found[name] = str(list(shape_of(argument)))
        elif isinstance(argument, list) and any(isinstance(part, fx.Node) for part in argument):
            found[name] = ", ".join(
                str(list(shape_of(part))) if isinstance(part, fx.Node) else "none" for part in argument
            )
        elif argument is not None:
            found[name] = str(argument)
    return found
