"""Programs whose declared ranges are too small, for tests of what notices that."""

from __future__ import annotations

from dataclasses import replace

from mpcvit.ops import Nonnegative, Relu
from mpcvit.program.program import Node, Program


def tampered(program: Program, factor: float = 2.0**-6) -> Program:
    """``program``, what its comparisons read declared to be as much smaller than it is."""
    read = {node.inputs[0] for node in program.nodes if isinstance(node.op, Relu | Nonnegative)}

    def smaller(node: Node) -> Node:
        if node.name not in read:
            return node
        kind = node.type.qtype
        return replace(node, type=replace(node.type, qtype=replace(kind, lo=kind.lo * factor, hi=kind.hi * factor)))

    return Program(program.inputs, program.parameters, tuple(map(smaller, program.nodes)), program.output)
