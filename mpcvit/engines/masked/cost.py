"""The cost model of the fast engine: what a plan costs, step by step, without running it."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.engines.cost import Cost
from mpcvit.engines.masked.plan import Plan
from mpcvit.engines.masked.word_digest import DIGEST_BYTES
from mpcvit.engines.setup_round import BINDING_BYTES
from mpcvit.ring.prg import SEED_BYTES

_WORD_BYTES = 8
MATERIAL_ID_BYTES = 16


@dataclass(frozen=True)
class PlanCost:
    """Exact costs of one inference of two parties.

    Attributes:
        setup: the session's two setup rounds (which material, then the binding and a party's half of the common seed)
            and the dealer's seeds.
        steps: cost of each step by name. Steps of equal depth share rounds, so these do not add up to the total's.
        total: of the whole inference, when one attempt is enough.
        repeat_probability: bound on the chance that it needs another attempt, because an opening was ambiguous.
        weight_bytes: what each party sends once per model load, to open the masked weights.
    """

    setup: Cost
    steps: dict[str, Cost]
    total: Cost
    repeat_probability: float
    weight_bytes: int


def fast_cost(plan: Plan) -> PlanCost:
    """Return the cost of ``plan``."""
    setup = Cost(2, (MATERIAL_ID_BYTES + BINDING_BYTES + SEED_BYTES,) * 2, (SEED_BYTES,) * 2)
    nodes = {node.name: node for node in plan.program.nodes}
    steps = {}
    for step in plan.steps:
        node = nodes.get(step.name)
        kinds = plan.program.input_types(node) if node else []
        sent = sum(step.protocol.openings()) + DIGEST_BYTES * step.protocol.agreements
        steps[step.name] = Cost(
            len(step.protocol.openings()),
            (sent, sent),
            step.protocol.material(),
            macs=node.op.macs(kinds) if node else 0,
            comparisons=node.op.comparisons(kinds) if node else 0,
        )
    sent = sum(plan.messages)
    total = setup + Cost(
        len(plan.messages),
        (sent, sent),
        plan.material,
        macs=sum(cost.macs for cost in steps.values()),
        comparisons=sum(cost.comparisons for cost in steps.values()),
    )
    weights = sum(plan.program.parameters[name].size for name in plan.masked_parameters)
    return PlanCost(setup, steps, total, plan.repeat_probability, _WORD_BYTES * weights)
