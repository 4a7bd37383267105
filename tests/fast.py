"""Running Programs on the fast engine in this process, for tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from mpcvit.program.fast import PlanMaterial, PreparedPlan, open_weights, run_fast
from mpcvit.program.fast_dealer import Attempts, deal_plan, weight_masks
from mpcvit.program.objective import DEFAULT_OBJECTIVE, Objective
from mpcvit.program.plan import Plan, make_plan
from mpcvit.program.program import Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import join
from mpcvit.session.link import Link
from mpcvit.session.local import run_parties
from mpcvit.session.trace import Trace
from parties.settings import Pool
from tests.secure import seed, share

#: As a compute party has it by default.
EXPANSION_BYTES = Pool().expansion_mib << 20


class DealtMaterial(PlanMaterial):
    """Material dealt in this process; counts what it had to deal again."""

    def __init__(self, plan: Plan, party: int, number: int, weights: Mapping[str, torch.Tensor]) -> None:
        self._plan, self._party, self._weights = plan, party, weights
        self._seeds = [seed(2000 + 2 * number), seed(2001 + 2 * number)]
        self._session = number.to_bytes(16, "little")
        dealt = list(deal_plan(plan, self._session, self._seeds, weights))
        self._stream = memoryview(b"".join(step.sent[party] for step in dealt))
        self.roundings = {step.name: step.rounding for step in dealt if step.rounding is not None}
        self.reopened: list[str] = []
        self.read_bytes = 0

    @property
    def seed(self) -> bytes:
        return self._seeds[self._party]

    @property
    def session(self) -> bytes:
        return self._session

    def read(self, start: int, count: int) -> memoryview:
        self.read_bytes += count
        return self._stream[start : start + count]

    def again(self, attempts: Attempts, ambiguous: Collection[str]) -> Mapping[str, bytes]:
        self.reopened += ambiguous
        dealt = list(deal_plan(self._plan, self._session, self._seeds, self._weights, attempts, ambiguous))
        self.roundings |= {step.name: step.rounding for step in dealt if step.rounding is not None}
        return {step.name: step.sent[self._party] for step in dealt}


@dataclass(frozen=True)
class FastRun:
    """What a run on the fast engine gave."""

    plan: Plan
    output: Codes
    traces: list[Trace]
    reopened: list[str]
    roundings: dict[str, torch.Tensor] = field(repr=False)


def run_on_fast(
    program: Program,
    weights: Mapping[str, Codes],
    inputs: Mapping[str, Codes],
    number: int = 1,
    objective: Objective = DEFAULT_OBJECTIVE,
    wrap_link: Callable[[Link], Link] = lambda link: link,
) -> FastRun:
    """``program`` on masked wires by two threads; ``number`` seeds the dealer."""
    return run_plan(make_plan(program, objective), weights, inputs, number, wrap_link)


def run_plan(
    plan: Plan,
    weights: Mapping[str, Codes],
    inputs: Mapping[str, Codes],
    number: int = 1,
    wrap_link: Callable[[Link], Link] = lambda link: link,
    expansion_bytes: int = EXPANSION_BYTES,
) -> FastRun:
    """``plan`` on masked wires by two threads; ``number`` seeds the dealer."""
    seeds = [seed(3000 + 2 * number), seed(3001 + 2 * number)]
    masks = weight_masks(plan, (Prg(seeds[0]), Prg(seeds[1])))
    materials = [DealtMaterial(plan, party, number, masks) for party in (0, 1)]

    def party(link: Link) -> tuple[Codes, Trace]:
        link = wrap_link(link)
        own = {name: share(codes, 2, link.index, name) for name, codes in weights.items()}
        opened = open_weights(plan, own, Prg(seeds[link.index]), lambda sent: exchange(link, "weights", sent))
        prepared = PreparedPlan(plan, link.index, materials[link.index], opened, expansion_bytes)
        shares = {name: share(codes, 2, link.index, name) for name, codes in inputs.items()}
        return run_fast(link, prepared, shares), link.trace

    results = run_parties(2, party)
    read = [material.read_bytes for material in materials]
    if materials[0].reopened:  # what was dealt again before it was first read is not read
        assert all(count <= dealt for count, dealt in zip(read, plan.material, strict=True))
    else:
        assert tuple(read) == plan.material
    output = join([output for output, _ in results])
    return FastRun(plan, output, [trace for _, trace in results], materials[0].reopened, materials[0].roundings)


def exchange(link: Link, tag: str, sent: memoryview) -> memoryview:
    """Both parties' bytes swapped."""
    return memoryview(link.exchange(tag, sent)[1 - link.index])


def replay(run: FastRun, weights: Mapping[str, Codes], inputs: Mapping[str, Codes]) -> Codes:
    """The reference with the roundings of ``run``; equals its output bit for bit."""
    batch = {name: np.asarray(codes)[None] for name, codes in inputs.items()}
    return run_reference(run.plan.program, weights, batch, run.roundings)[0]
