"""From a Program to the fast engine's plan: the form of every value, the openings, the protocol of every node."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mpcvit.ops import TensorType
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.masked_opening import PlainOpening
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.rescale import Rescale
from mpcvit.ops.reveal import Reveal
from mpcvit.program.objective import Objective
from mpcvit.program.program import Node, Program

#: Name of the last step. Names of a Program's values hold no slash.
OUTPUT = "/output"


@dataclass(frozen=True)
class PlannedStep:
    """One protocol run.

    Attributes:
        name: the Program node's name; ``NAME/open`` for an inserted opening, ``/output`` for the last step.
        inputs: names of Program inputs, parameters or earlier steps.
    """

    name: str
    protocol: Protocol
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What two parties and a dealer do for one inference; a function of Program and objective alone.

    Attributes:
        masked_parameters: parameters that are opened under a mask once per model load.
        steps: in an order in which every value is made before it is read; the last gives the shares of the output.
    """

    program: Program
    objective: Objective
    masked_parameters: tuple[str, ...]
    steps: tuple[PlannedStep, ...]

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the Program's digest and every protocol chosen; both parties and the dealer must agree on it."""
        lines = [f"{step.name} {step.protocol!r} {' '.join(step.inputs)}" for step in self.steps]
        return hashlib.sha256("\n".join([self.program.digest, *lines]).encode()).digest()

    @cached_property
    def step_index(self) -> dict[str, int]:
        """Position of each step by name."""
        return {step.name: index for index, step in enumerate(self.steps)}

    @cached_property
    def depths(self) -> dict[str, int]:
        """The number of rounds after which each step's result is there, when every step starts as soon as it can."""
        depths: dict[str, int] = {}
        for step in self.steps:
            start = max((depths.get(name, 0) for name in step.inputs), default=0)
            depths[step.name] = start + len(step.protocol.openings())
        return depths

    @cached_property
    def messages(self) -> tuple[int, ...]:
        """Bytes that each party sends in each round."""
        sizes = [0] * max(self.depths.values(), default=0)
        for step in self.steps:
            start = self.depths[step.name] - len(step.protocol.openings())
            for offset, size in enumerate(step.protocol.openings()):
                sizes[start + offset] += size
        return tuple(sizes)

    @cached_property
    def material(self) -> tuple[int, int]:
        """Bytes that the dealer sends to each party, session seeds apart."""
        both = [step.protocol.material() for step in self.steps]
        return sum(first for first, _ in both), sum(second for _, second in both)

    @cached_property
    def reopen_probability(self) -> float:
        """Bound on the chance that some opening of one inference is ambiguous and repeated: one more round then."""
        return sum(step.protocol.reopen_probability() for step in self.steps)

    @cached_property
    def mask_sources(self) -> dict[str, frozenset[str]]:
        """Per step, the openings whose masks its inputs carry."""
        origins: dict[str, frozenset[str]] = {}
        sources: dict[str, frozenset[str]] = {}
        for step in self.steps:
            merged: frozenset[str] = frozenset().union(*(origins.get(name, frozenset()) for name in step.inputs))
            opens = step.protocol.form is Form.MASKED and bool(step.protocol.openings())
            sources[step.name] = frozenset() if opens else merged
            if step.protocol.form is Form.MASKED:
                origins[step.name] = frozenset({step.name}) if opens else merged
        return sources


def make_plan(program: Program, objective: Objective) -> Plan:
    """The plan of ``program`` for two parties, cheapest by ``objective``."""
    live = _live_nodes(program)
    needed = _needed_masked(program, live)
    forms: dict[str, Form] = dict.fromkeys(program.inputs, Form.SHARED)
    latest: dict[str, str] = {}
    steps: list[PlannedStep] = []
    masked_parameters = tuple(name for name in program.parameters if name in needed)
    forms.update({name: Form.MASKED if name in needed else Form.SHARED for name in program.parameters})

    def open_if_needed(name: str, kind: TensorType) -> None:
        if name in needed and forms[name] is Form.SHARED:
            steps.append(PlannedStep(f"{name}/open", PlainOpening(kind.shape), (name,)))
            latest[name], forms[f"{name}/open"] = f"{name}/open", Form.MASKED

    for name, kind in program.inputs.items():
        open_if_needed(name, kind)
    for node in live:
        inputs = tuple(latest.get(name, name) for name in node.inputs)
        kinds = program.input_types(node)
        protocols = node.op.protocols(kinds, [forms[name] for name in inputs])
        protocol = min(protocols, key=lambda candidate: _seconds(candidate, objective))
        steps.append(PlannedStep(node.name, protocol, inputs))
        forms[node.name] = protocol.form
        open_if_needed(node.name, node.type)
    output = program.types[program.output]
    source = program.output if forms[program.output] is Form.SHARED else latest.get(program.output, program.output)
    steps.append(PlannedStep(OUTPUT, Reveal(output.shape, forms[source]), (source,)))
    return Plan(program, objective, masked_parameters, tuple(steps))


def _seconds(protocol: Protocol, objective: Objective) -> float:
    """What a protocol adds to an inference on the critical path, and what its material is worth."""
    openings, material = protocol.openings(), sum(protocol.material())
    return (
        len(openings) * objective.round_s
        + sum(openings) * objective.byte_s
        + protocol.online_work_s()
        + material * objective.material_byte_s
    )


def _live_nodes(program: Program) -> list[Node]:
    """The nodes that the output depends on, in order."""
    wanted, live = {program.output}, []
    for node in reversed(program.nodes):
        if node.name in wanted:
            live.append(node)
            wanted.update(node.inputs)
    return live[::-1]


def _needed_masked(program: Program, live: Sequence[Node]) -> set[str]:
    """The values that must come Masked. A local op that must passes the need on to its inputs where that is cheaper."""
    needed: set[str] = set()
    for node in live:
        masked = node.op.masked_inputs(len(node.inputs))
        needed.update(name for name, mask in zip(node.inputs, masked, strict=True) if mask)
    free = {node.name for node in live if isinstance(node.op, Rescale)} | set(program.parameters)
    makers = {node.name: node for node in live}

    def price(name: str) -> int:
        """Elements to open so that ``name`` is Masked."""
        if name in free or name in needed:
            return 0
        node, own = makers.get(name), program.types[name].size
        if node is None or not isinstance(node.op, LinearMap):
            return own
        return min(own, sum(map(price, set(node.inputs))))

    for node in reversed(live):
        if node.name not in needed or not isinstance(node.op, LinearMap):
            continue
        if sum(map(price, set(node.inputs))) <= program.types[node.name].size:
            needed.update(node.inputs)
    return needed
