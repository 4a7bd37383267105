"""Running Programs on the fast engine in this process, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mpcvit.engines.masked import simulate
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, Objective
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.engines.masked.simulate import MaskedRun
from mpcvit.program.program import Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.transport.link import Link
from tests.support.secure import seed


def run_on_fast(
    program: Program,
    weights: Mapping[str, Codes],
    inputs: Mapping[str, Codes],
    number: int = 1,
    objective: Objective = DEFAULT_OBJECTIVE,
    wrap_link: Callable[[Link], Link] = lambda link: link,
) -> MaskedRun:
    """``program`` on masked wires; all randomness follows from ``number``."""
    return run_plan(make_plan(program, objective), weights, inputs, number, wrap_link)


def run_plan(
    plan: Plan,
    weights: Mapping[str, Codes],
    inputs: Mapping[str, Codes],
    number: int = 1,
    wrap_link: Callable[[Link], Link] = lambda link: link,
) -> MaskedRun:
    """``plan`` on masked wires; both parties read all their material, and no more."""
    run = simulate.run(plan, weights, inputs, seed(number), wrap_link=wrap_link)
    assert run.material_bytes == plan.material
    return run


def replay(run: MaskedRun, weights: Mapping[str, Codes], inputs: Mapping[str, Codes]) -> Codes:
    """The reference with the roundings of ``run``; equals its output bit for bit."""
    batch = {name: np.asarray(codes)[None] for name, codes in inputs.items()}
    return run_reference(run.plan.program, weights, batch, run.roundings)[0]


def assert_cost(run: MaskedRun) -> None:
    """Assert that both parties counted the rounds and bytes that the plan says, and those of attempts given up."""
    plan = run.plan
    assert run.rounds[-1] == len(plan.messages)
    sent = sum(sum(plan.messages[:rounds]) for rounds in run.rounds)
    for trace in run.traces:
        opened = trace.of(simulate.WEIGHTS_TAG)
        assert opened.bytes_sent == 8 * sum(plan.program.types[name].size for name in plan.masked_parameters)
        assert trace.total().rounds - opened.rounds == sum(run.rounds)
        assert trace.total().bytes_sent - opened.bytes_sent == sent
        assert trace.total().bytes_received == trace.total().bytes_sent
    first, second = ({tag: (c.rounds, c.bytes_sent) for tag, c in trace.counts.items()} for trace in run.traces)
    assert list(first.items()) == list(second.items())
