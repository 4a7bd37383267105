"""From a Program to the fast engine's plan: the form of every value, the openings, the protocol of every node."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mpcvit.engines.masked.kernel import kernel_for
from mpcvit.engines.masked.objective import Objective
from mpcvit.engines.masked.protocol import Form, Protocol
from mpcvit.engines.masked.protocols.plain_opening import PlainOpening
from mpcvit.engines.masked.protocols.reveal import Reveal
from mpcvit.engines.masked.word_digest import DIGEST_BYTES
from mpcvit.ops import TensorType
from mpcvit.ops.input_check import InputCheck
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.rescale import Rescale
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

    @property
    def node(self) -> str:
        """The Program's value that this step computes or opens; empty for the last step."""
        return self.name.partition("/")[0]


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
        starts = {step.name: self.depths[step.name] - len(step.protocol.openings()) for step in self.steps}
        agreed = [starts[step.name] + 1 for step in self.steps if step.protocol.agreements]
        sizes = [0] * max([*self.depths.values(), *agreed], default=0)
        for step in self.steps:
            start = starts[step.name]
            if step.protocol.agreements:
                sizes[start] += DIGEST_BYTES * step.protocol.agreements
            for offset, size in enumerate(step.protocol.openings()):
                sizes[start + offset] += size
        return tuple(sizes)

    @cached_property
    def material(self) -> tuple[int, int]:
        """Bytes that the dealer sends to each party, session seeds apart."""
        both = [step.protocol.material() for step in self.steps]
        return sum(first for first, _ in both), sum(second for _, second in both)

    @cached_property
    def repeat_probability(self) -> float:
        """Bound the chance that some opening of one inference is ambiguous, so that it needs another attempt."""
        return sum(step.protocol.repeat_probability() for step in self.steps)


def make_plan(program: Program, objective: Objective) -> Plan:
    """Return the plan of ``program`` for two parties, cheapest by ``objective``."""
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
        protocols = kernel_for(node.op).ways(node.op, kinds, [forms[name] for name in inputs])
        if node.guarded:
            protocols = [guarded for one in protocols if (guarded := one.with_guard()) is not None]
        protocol = min(protocols, key=lambda candidate: _seconds(candidate, objective))
        steps.append(PlannedStep(node.name, protocol, inputs))
        forms[node.name] = protocol.form
        open_if_needed(node.name, node.type)
    output = program.types[program.output]
    source = program.output if forms[program.output] is Form.SHARED else latest.get(program.output, program.output)
    steps.append(PlannedStep(OUTPUT, Reveal(output.shape, forms[source]), (source,)))
    return Plan(program, objective, masked_parameters, tuple(steps))


def _seconds(protocol: Protocol, objective: Objective) -> float:
    """Return what a protocol adds to an inference on the critical path, and what its material is worth."""
    openings, material = protocol.openings(), sum(protocol.material())
    return (
        len(openings) * objective.round_s
        + sum(openings) * objective.byte_s
        + protocol.online_work_s()
        + material * objective.material_byte_s
    )


def _live_nodes(program: Program) -> list[Node]:
    """Return the nodes that the output depends on, in order."""
    wanted, live = {program.output}, []
    for node in reversed(program.nodes):
        if node.name in wanted:
            live.append(node)
            wanted.update(node.inputs)
    return live[::-1]


def _needed_masked(program: Program, live: Sequence[Node]) -> set[str]:
    """Return the values that must come Masked.

    A local op that must passes the need on to its inputs where that is cheaper.
    """
    needed: set[str] = set()
    for node in live:
        if kernel_for(node.op).masked:
            needed.update(node.inputs)
    free = {node.name for node in live if isinstance(node.op, Rescale | InputCheck)} | set(program.parameters)
    makers = {node.name: node for node in live}

    def price(name: str) -> int:
        """Return the elements to open so that ``name`` is Masked."""
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
