"""The cost model: what a Program costs on the stock executor, node by node, without running it."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.engines.cost import Cost
from mpcvit.engines.crypten.correlations import ELEMENT_BYTES
from mpcvit.engines.crypten.dealer import plan
from mpcvit.engines.crypten.kernel import kernel_for
from mpcvit.engines.setup_round import BINDING_BYTES
from mpcvit.program.program import Program
from mpcvit.ring.prg import SEED_BYTES


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
    """Return the cost of ``program`` for ``parties`` compute parties on CrypTen's own protocols."""
    setup = Cost(1, ((BINDING_BYTES + SEED_BYTES) * (parties - 1),) * parties, (SEED_BYTES,) * parties)
    kernels = [(node.name, kernel_for(node.op), program.input_types(node)) for node in program.nodes]
    nodes = {name: kernel.cost(types, parties) for name, kernel, types in kernels}
    return ProgramCost(setup, nodes, sum(kernel.wrap_probability(types, parties) for _, kernel, types in kernels))


def largest_message(program: Program, parties: int) -> int:
    """Return the bytes of the longest message that one party sends another, setup included."""
    opened = (planned.correlation.opened for planned in plan(program, parties))
    return max(BINDING_BYTES + SEED_BYTES, ELEMENT_BYTES * max(opened, default=0))
