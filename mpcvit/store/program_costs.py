"""What each of a model's Programs costs, as manifests say it."""

from __future__ import annotations

from collections.abc import Mapping

from mpcvit.engines.cost import Cost
from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, Objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.program.program import Program
from mpcvit.wire.budget import BudgetCost


def program_costs(
    programs: Mapping[str, Program], parties: int, objective: Objective | None = DEFAULT_OBJECTIVE
) -> tuple[BudgetCost, ...]:
    """Return what one inference costs with each of ``programs``, by budget.

    Args:
        objective: what the fast engine's plan minimises; None for the stock engine, which more than two parties run.
    """
    fast = objective if parties == 2 else None
    return tuple(_cost(budget, program, parties, fast) for budget, program in programs.items())


def _cost(budget: str, program: Program, parties: int, objective: Objective | None) -> BudgetCost:
    total = _total(program, parties, objective)
    return BudgetCost(
        budget=budget,
        program_sha256=program.digest,
        rounds=total.rounds,
        bytes_sent=total.bytes_sent[0],
        material_bytes=total.material_bytes[-1],
    )


def _total(program: Program, parties: int, objective: Objective | None) -> Cost:
    return stock_cost(program, parties).total if objective is None else fast_cost(make_plan(program, objective)).total
