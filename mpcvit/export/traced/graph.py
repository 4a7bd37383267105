"""A traced module: a graph of calls of ATen ops, and the tensors in it that are the same for every picture."""

from __future__ import annotations

import inspect
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx


@dataclass(frozen=True)
class TracedGraph:
    """What ``torch.export`` made of a module, for one picture; passes rewrite it.

    Attributes:
        graph: calls of functional ATen ops; shapes have a leading axis of length 1, that of the picture.
        constants: by node, tensors that do not depend on the picture (or tuples of them); floats are float64.
        picture: the node of the normalised picture.
    """

    graph: fx.Graph
    constants: dict[fx.Node, Any]
    picture: fx.Node

    @property
    def output(self) -> fx.Node:
        """The node whose value is the answer."""
        (last,) = (node for node in self.graph.nodes if node.op == "output")
        answer: fx.Node = last.args[0][0]
        return answer

    def constant(self, name: str, tensor: torch.Tensor) -> fx.Node:
        """Return a new node for ``tensor``."""
        with self.graph.inserting_before(self.picture):
            node = self.graph.placeholder(name)
        self.constants[node] = tensor
        node.meta["val"] = tensor
        return node

    def tensor(self, argument: Any) -> torch.Tensor | None:
        """Return the constant tensor that an argument of a call is; None for what depends on the picture, and for
        no tensor.
        """
        found = self.constants.get(argument) if isinstance(argument, fx.Node) else None
        return found if isinstance(found, torch.Tensor) else None

    def clean(self) -> None:
        """Remove what nothing reads."""
        for node in reversed(list(self.graph.nodes)):
            if not node.users and node.op != "output" and node is not self.picture:
                self.constants.pop(node, None)
                self.graph.erase_node(node)


def op_of(node: fx.Node) -> str:
    """Return the name of the ATen op that ``node`` calls, without its overload; empty for nodes that call none."""
    if node.op != "call_function":
        return ""
    schema = getattr(node.target, "_schema", None)
    name: str = getattr(node.target, "__name__", "") if schema is None else schema.name
    return name.removeprefix("aten::")


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a call by the names of the op's schema, defaults included."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:  # getitem, or what a pass put in
        function: Any = node.target
        own = function is not operator.getitem
        names = list(inspect.signature(function).parameters) if own else ["input", "index"]
        return dict(zip(names, node.args, strict=True))
    given = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)) | node.kwargs
    return {
        "input" if argument.name == "self" else argument.name: given.get(argument.name, argument.default_value)
        for argument in schema.arguments
    }


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of the tensor that ``node`` computes; empty for tuples."""
    return tuple(getattr(node.meta.get("val"), "shape", ()))


def path_of(node: fx.Node) -> str:
    """Return the path of the module that made the call, such as ``blocks.0.attn``; empty for the outermost."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def value_name(node: fx.Node) -> str:
    """Return the name of the value that a call of a traced graph becomes."""
    path = path_of(node)
    return f"{path}.{node.name}" if path else node.name
