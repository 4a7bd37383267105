"""A Program: a typed, topologically ordered graph of ops on fixed-point tensors. Weights are separate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from mpcvit.errors import ModelFileError, ProgramError
from mpcvit.ops import OPS, Op, TensorType
from mpcvit.ring.qtype import QType
from mpcvit.wire.ranges import Ranges

#: 2: with ``ranges``.
FORMAT_VERSION = 2
#: Before there were proofs, every range was calibrated.
_READABLE = (1, FORMAT_VERSION)
_OPS = {op.name: op for op in OPS}


@dataclass(frozen=True)
class Node:
    """One op applied to named values.

    Attributes:
        name: unique, readable, e.g. ``block3.attn.scores``; tags and random streams carry it.
        inputs: names of earlier nodes, Program inputs or parameters.
        type: type of the result.
        proven: whether its bounds hold for every input within its own bounds; else they come from calibration data.
        guarded: whether the client hears of inputs outside of the op's window; see :meth:`mpcvit.ops.Op.window`.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    type: TensorType
    proven: bool = False
    guarded: bool = False


@dataclass(frozen=True)
class Program:
    """A checked graph.

    Attributes:
        inputs: secret inputs of one inference, by name.
        parameters: secret tensors that all inferences share (weights, biases), by name.
        nodes: in an order in which every value is made before it is read.
        output: name of the value that is revealed to the client.

    Raises:
        ProgramError: a name is used twice, not known or holds a slash, an op does not fit its inputs, or a stated type
            is not what the op gives.
        RangeError: a value may leave an op's domain.
    """

    inputs: dict[str, TensorType]
    parameters: dict[str, TensorType]
    nodes: tuple[Node, ...]
    output: str

    def __post_init__(self) -> None:
        known = {**self.inputs, **self.parameters}
        if len(known) != len(self.inputs) + len(self.parameters):
            raise ProgramError(
                "a name that is both input and parameter", expected="unique names", remedy="Rename one of them."
            )
        for node in self.nodes:
            _check(node, known)
            known[node.name] = node.type
        if self.output not in known:
            raise ProgramError(
                f"output '{self.output}'", expected="the name of a node", remedy="Name an existing node as output."
            )

    @cached_property
    def types(self) -> dict[str, TensorType]:
        """The type of every value by name."""
        return {**self.inputs, **self.parameters, **{node.name: node.type for node in self.nodes}}

    @property
    def ranges(self) -> Ranges:
        """How far the bounds of all values can be relied on."""
        if all(node.proven for node in self.nodes):
            return Ranges.PROVEN
        guarded = all(node.guarded for node in self.nodes if node.op.guardable)
        return Ranges.GUARDED if guarded else Ranges.CALIBRATED

    def input_types(self, node: Node) -> list[TensorType]:
        """Return the types of what ``node`` reads."""
        return [self.types[name] for name in node.inputs]

    def in_order(self) -> Iterator[tuple[Node, list[str]]]:
        """Yield every node with the names of the values that nobody reads after it."""
        last_reader: dict[str, int] = {}
        for position, node in enumerate(self.nodes):
            last_reader.update(dict.fromkeys(node.inputs, position))
        last_reader.pop(self.output, None)
        done: dict[int, list[str]] = {}
        for name, position in last_reader.items():
            done.setdefault(position, []).append(name)
        for position, node in enumerate(self.nodes):
            yield node, done.get(position, [])

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON form, as 64 hex digits."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict that :meth:`from_json` reads back."""
        return {
            "format": FORMAT_VERSION,
            "inputs": {name: _type_to_json(value) for name, value in self.inputs.items()},
            "parameters": {name: _type_to_json(value) for name, value in self.parameters.items()},
            "nodes": [
                {
                    "name": node.name,
                    "op": node.op.name,
                    "attributes": asdict(node.op),  # type: ignore[call-overload]  # every op is a dataclass
                    "inputs": list(node.inputs),
                    "type": _type_to_json(node.type),
                    "ranges": Ranges.PROVEN if node.proven else Ranges.CALIBRATED,
                    "guarded": node.guarded,
                }
                for node in self.nodes
            ],
            "output": self.output,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Program:
        """Return the Program that :meth:`to_json` wrote.

        Raises:
            ModelFileError: another format version, an unknown op, or a damaged document.
        """
        version = document.get("format")
        if version not in _READABLE:
            raise ModelFileError(
                f"a Program of format {version}",
                expected=f"format {' or '.join(map(str, _READABLE))}",
                remedy="Export the model again with this version of mpcvit.",
            )
        try:
            nodes = tuple(
                Node(
                    entry["name"],
                    _OPS[entry["op"]](**_tuples(entry["attributes"])),
                    tuple(entry["inputs"]),
                    _type_from_json(entry["type"]),
                    entry.get("ranges") == Ranges.PROVEN,
                    entry.get("guarded", False),
                )
                for entry in document["nodes"]
            )
            return cls(
                {name: _type_from_json(value) for name, value in document["inputs"].items()},
                {name: _type_from_json(value) for name, value in document["parameters"].items()},
                nodes,
                document["output"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"a Program file without a readable {error}",
                expected=f"ops among {', '.join(sorted(_OPS))} with all their attributes",
                remedy="Export the model again; the file is damaged or from a newer version.",
            ) from error


def _check(node: Node, known: dict[str, TensorType]) -> None:
    if node.name in known:
        raise ProgramError(
            f"a second value named '{node.name}'", expected="unique names", remedy="Rename one of the nodes."
        )
    if "/" in node.name or not node.name:
        raise ProgramError(
            f"a value named '{node.name}'", expected="a name without slash", remedy="Use dots in names of nodes."
        )
    if node.guarded and not node.op.guardable:
        raise ProgramError(
            f"a guard of '{node.name}' ({node.op.name})",
            expected="guards of gates only",
            remedy="Guard nodes whose op is guardable.",
        )
    missing = [name for name in node.inputs if name not in known]
    if missing:
        raise ProgramError(
            f"node '{node.name}' reading {missing}",
            expected="names of inputs, parameters or earlier nodes",
            remedy="Order the nodes so that every value is made before it is read.",
        )
    try:
        shape, frac = node.op.infer(*(known[name] for name in node.inputs))
    except ProgramError as error:
        raise type(error)(
            f"at node '{node.name}': {error.got}", expected=error.expected, remedy=error.remedy
        ) from error
    except ValueError as error:
        raise ProgramError(
            f"node '{node.name}' ({node.op.name}) with {len(node.inputs)} inputs",
            expected="as many inputs as the op takes",
            remedy="Correct the node's inputs.",
        ) from error
    if (shape, frac) != (node.type.shape, node.type.frac):
        raise ProgramError(
            f"node '{node.name}' declared as {node.type}",
            expected=f"shape {list(shape)} with {frac} fractional bits",
            remedy="Declare the type that the op gives.",
        )


def _type_to_json(value: TensorType) -> dict[str, Any]:
    return {"shape": list(value.shape), "frac": value.qtype.frac, "lo": value.qtype.lo, "hi": value.qtype.hi}


def _type_from_json(value: dict[str, Any]) -> TensorType:
    return TensorType(tuple(value["shape"]), QType(frac=value["frac"], lo=value["lo"], hi=value["hi"]))


def _tuples(value: Any) -> Any:
    """Return JSON lists as tuples, all the way down, so that ops compare and hash."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value
