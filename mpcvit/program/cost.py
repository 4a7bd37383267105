"""The cost model: what a Program costs on the stock executor, node by node, without running it."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.ops import Cost
from mpcvit.program.dealer import plan
from mpcvit.program.program import Program
from mpcvit.ring.prg import SEED_BYTES
from mpcvit.session.correlations import ELEMENT_BYTES
from mpcvit.session.session import BINDING_BYTES


@dataclass(frozen=True)
class ProgramCost:
    """Exact costs of one inference.

    Attributes:
        setup: the session's setup round and the dealer's seeds.
        nodes: cost of each node by name.
        wrap_probability: bound on the chance that any truncation of one inference wraps silently.
    """

    setup: Cost
    nodes: dict[str, Cost]
    wrap_probability: float

    @property
    def total(self) -> Cost:
        """Sum of setup and all nodes."""
        return sum(self.nodes.values(), start=self.setup)


def stock_cost(program: Program, parties: int) -> ProgramCost:
    """The cost of ``program`` for ``parties`` compute parties on CrypTen's own protocols."""
    setup = Cost(1, ((BINDING_BYTES + SEED_BYTES) * (parties - 1),) * parties, (SEED_BYTES,) * parties)
    nodes = {node.name: node.op.stock_cost(program.input_types(node), parties) for node in program.nodes}
    wraps = sum(node.op.wrap_probability(program.input_types(node), parties) for node in program.nodes)
    return ProgramCost(setup, nodes, wraps)


def largest_message(program: Program, parties: int) -> int:
    """Bytes of the longest message that one party sends another, setup included."""
    opened = (planned.correlation.opened for planned in plan(program, parties))
    return max(BINDING_BYTES + SEED_BYTES, ELEMENT_BYTES * max(opened, default=0))
