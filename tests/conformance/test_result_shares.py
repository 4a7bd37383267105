"""The shares of a result say no more than their sum, also to a client that the dealer tells everything it knows."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from mpcvit.engines.crypten.dealer import deal, plan
from mpcvit.engines.crypten.executor import run_stock
from mpcvit.engines.crypten.provider import Provider
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.masked.dealer import deal_plan, step_stream
from mpcvit.engines.masked.material import read_material
from mpcvit.engines.masked.plan import OUTPUT, Plan
from mpcvit.engines.masked.protocol import Side
from mpcvit.engines.masked.simulate import Attempt
from mpcvit.export.builder import Builder, Precision
from mpcvit.export.ranking import top_labels
from mpcvit.ops import Add
from mpcvit.program.program import Program
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.ring.qtype import QType
from mpcvit.ring.sharing import join, shares
from mpcvit.transport.link import Link
from mpcvit.transport.threads import run_parties
from tests.support.cases import t
from tests.support.fast import run_on_fast
from tests.support.secure import BINDING, one_op, seed

CLASSES = 10


@pytest.fixture(scope="module")
def label_program() -> Program:
    """The likeliest of ten labels, and nothing else."""
    builder = Builder(Precision())
    scores = builder.input("scores", torch.zeros(1, CLASSES, dtype=torch.float64), QType(frac=12, lo=-8.0, hi=8.0))
    return builder.program(top_labels(builder, "label", scores, 1))


def _words(codes: Codes) -> list[int]:
    return [int(word) for word in codes.reshape(-1).view(np.uint64)]


def _ranking_from_shares(plan: Plan, number: int, shares: list[int]) -> list[int] | None:
    """The ranks of all labels, from both shares of a label and all that the dealer of run ``number`` knows.

    A share is the sum of ten terms, one per label, that depend on that rank alone and on material. So both shares
    together single out the ranks; a meeting in the middle finds them.
    """
    attempt = Attempt.of(seed(number))
    prgs = [Prg(one) for one in attempt.seeds]
    sent = {step.name: step.sent for step in deal_plan(plan, attempt.session, attempt.seeds, {})}
    steps = {step.name: step for step in plan.steps}
    (opening,) = (step for step in plan.steps if step.name.endswith("ranks/open"))
    mask = sum(_mask_words(prg, opening) for prg in prgs)
    terms, targets = [], []
    for party in (0, 1):

        def prepared(name: str, party: int = party) -> Any:
            step = steps[name]
            stream = step_stream(prgs[party], step)
            taken = read_material(step.protocol.layout(), party, stream, memoryview(sent[name][party]))
            return step.protocol.prepare(Side(party, attempt.session), taken, None).state

        keys, zero = prepared("label"), prepared(OUTPUT)
        unit_vectors = steps["label"].protocol._keys.expand(attempt.session, party, keys[1])
        targets.append((shares[party] + _words(zero.numpy())[0]) % 2**64)
        terms.append(
            [
                [int(unit_vectors[c, 0, (rank + int(mask[c])) & 15]) * c % 2**64 for rank in range(CLASSES)]
                for c in range(CLASSES)
            ]
        )
    left, right = range(1, 5), range(5, CLASSES)

    def total(party: int, labels: range, ranks: tuple[int, ...]) -> int:
        return sum(terms[party][c][rank] for c, rank in zip(labels, ranks, strict=True))

    table = {total(0, left, ranks) % 2**64: ranks for ranks in permutations(range(CLASSES), len(left))}
    for ranks in permutations(range(CLASSES), len(right)):
        other = table.get((targets[0] - total(0, right, ranks)) % 2**64, ranks)
        if set(other) & set(ranks):
            continue
        if (total(1, left, other) + total(1, right, ranks)) % 2**64 == targets[1]:
            return [*set(range(CLASSES)) - set(other) - set(ranks), *other, *ranks]
    return None


def _mask_words(prg: Prg, opening: object) -> Codes:
    return step_stream(prg, opening).ring((CLASSES,))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_client_and_dealer_learn_the_label_alone(label_program: Program, number: int) -> None:
    """Without the parties' sharing of zero, one label gives client and dealer the whole ranking; with it, they fail."""
    scores = np.random.default_rng(number).integers(-32768, 32768, CLASSES)
    run = run_on_fast(label_program, {}, {"scores": scores}, number)
    order = sorted(range(CLASSES), key=lambda label: (-scores[label], label))
    assert run.output.tolist() == [order[0], 1]  # the label, and that it is one
    zero = Prg(Attempt.of(seed(number)).common).stream("zero").ring(run.output.shape)
    bare = [_words(run.shares[0] - zero)[0], _words(run.shares[1] + zero)[0]]
    assert _ranking_from_shares(run.plan, number, bare) == [order.index(label) for label in range(CLASSES)]
    assert _ranking_from_shares(run.plan, number, [_words(one)[0] for one in run.shares]) is None


def test_the_fast_engine_s_shares_are_fresh() -> None:
    """Equal inputs, shares and material give other shares of the result under another common seed, of the same sum."""
    program, number = one_op(Add(), t((50,)), t((50,))), 3
    inputs = {name: np.arange(50, dtype=np.int64) for name in program.inputs}
    run = run_on_fast(program, {}, inputs, number)
    zero = Prg(Attempt.of(seed(number)).common).stream("zero").ring((50,))
    bare = [run.shares[0] - zero, run.shares[1] + zero]
    assert (join(bare) == run.output).all()
    assert all((one != other).all() for one, other in zip(bare, run.shares, strict=True))


@pytest.mark.parametrize("parties", [2, 3])
def test_the_stock_engine_s_shares_are_fresh(parties: int) -> None:
    """Equal inputs, shares and material give other shares of the result in every session, of the same sum."""
    program = one_op(Add(), t((50,)), t((50,)))
    inputs = {name: np.arange(50, dtype=np.int64) for name in program.inputs}

    shared = {name: shares(codes, [Prg(seed(9 + i)) for i in range(parties - 1)]) for name, codes in inputs.items()}

    def results(number: int) -> list[Codes]:
        materials = deal(program, parties, Prg(seed(1)))

        def party(link: Link) -> Codes:
            provider = Provider(plan(program, parties), materials[link.index], last=link.index == parties - 1)
            with Session(link, Prg(seed(number + link.index)), provider, binding=BINDING) as session:
                return run_stock(session, program, {}, {name: every[link.index] for name, every in shared.items()})

        return run_parties(parties, party)

    first, second = results(100), results(200)
    assert join(first).tolist() == join(second).tolist() == (2 * np.arange(50)).tolist()
    assert all((one != other).all() for one, other in zip(first, second, strict=True))
