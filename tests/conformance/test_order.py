"""The order of scores without anybody learning it: every engine against the definition, and what parties see."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.masked.kernel import kernel_for
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, OBJECTIVES
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.engines.masked.simulate import MaskedRun
from mpcvit.errors import ProgramError, ProtocolViolation, RangeError
from mpcvit.ops import Matmul, Order, Rescale, TensorType
from mpcvit.program.program import Node, Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import QType
from mpcvit.transport.link import Frame, Link
from tests.support.cases import t
from tests.support.fast import replay, run_on_fast, run_plan
from tests.support.links import RecordingLink
from tests.support.secure import one_op, run_secure

SIZES = [2, 3, 17, 64]
KINDS = ["any", "all equal", "many ties", "negative", "ends of the range"]
_BOUND = 5 << 12


def ordering(count: int, bound: float = 5.0) -> Program:
    """The Program from scores ``x0`` to their order."""
    return one_op(Order(), t((count,), bound=bound))


def scores_of(count: int, kind: str, seed: int = 1) -> dict[str, Codes]:
    """Scores of one kind."""
    generator = np.random.default_rng(seed)
    scores = {
        "any": generator.integers(-_BOUND, _BOUND, count, endpoint=True),
        "all equal": np.full(count, -77),
        "many ties": generator.integers(-1, 2, count),
        "negative": generator.integers(-_BOUND, 0, count),
        "ends of the range": generator.choice(np.array([-_BOUND, _BOUND]), count),
    }[kind]
    return {"x0": scores.astype(np.int64)}


def matrix_of(inputs: dict[str, Codes]) -> list[list[int]]:
    """The definition: row p names the score with rank p, the largest first, equal ones by position."""
    scores = inputs["x0"].tolist()
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return [[int(place == i) for place in range(len(scores))] for i in order]


def every_way(program: Program) -> list[Plan]:
    """The plan with each way to compare."""
    plan = make_plan(program, DEFAULT_OBJECTIVE)
    kinds, index = program.input_types(program.nodes[-1]), plan.step_index["op"]
    return [
        replace(plan, steps=(*plan.steps[:index], replace(plan.steps[index], protocol=way), *plan.steps[index + 1 :]))
        for way in kernel_for(Order()).ways(Order(), kinds, [])
    ]


def assert_cost(run: MaskedRun) -> None:
    """Rounds and bytes are the plan's."""
    for trace in run.traces:
        assert (trace.total().rounds, trace.total().bytes_sent) == (len(run.plan.messages), sum(run.plan.messages))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", SIZES)
def test_fast_engine_is_exact(count: int, kind: str) -> None:
    """The definition, the reference and the engine agree, whatever the shuffle; messages are the plan's."""
    program, inputs = ordering(count), scores_of(count, kind)
    expected = matrix_of(inputs)
    assert run_reference(program, {}, {"x0": inputs["x0"][None]})[0].tolist() == expected
    for number in (1, 2):
        run = run_on_fast(program, {}, inputs, number)
        assert run.output.tolist() == replay(run, {}, inputs).tolist() == expected
        assert_cost(run)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=lambda objective: objective.name)
def test_every_objective_is_exact(objective: object) -> None:
    """Whichever way pairs are compared."""
    program, inputs = ordering(17), scores_of(17, "many ties")
    run = run_on_fast(program, {}, inputs, objective=objective)
    assert run.output.tolist() == matrix_of(inputs)
    assert_cost(run)


def test_two_rounds_behind_the_opening_of_the_scores() -> None:
    """With comparisons that take no round: the shuffled scores, then their ranks; P and P mu go to party 1."""
    plan = make_plan(ordering(64), OBJECTIVES["rounds"])
    assert plan.messages == (8 * 64,) * 3
    first, second = plan.steps[plan.step_index["op"]].protocol.material()
    assert second - first == 8 * (64 * 63 // 2) + 8 * 64 * (64 + 1)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("count", SIZES[:3])
def test_stock_engine_is_exact(count: int, parties: int) -> None:
    """CrypTen's protocols give the same matrix without opening anything, and cost what is declared."""
    program = ordering(count)
    declared = stock_cost(program, parties)
    for kind in ("any", "many ties"):
        inputs = scores_of(count, kind)
        run = run_secure(program, {}, inputs, parties)
        assert run.output.tolist() == matrix_of(inputs)
        for party, trace in enumerate(run.traces):
            assert trace.total().bytes_sent == declared.total.bytes_sent[party]
            assert trace.total().rounds == declared.total.rounds
    assert declared.nodes["op"].comparisons == count * (count - 1) // 2


def recorded(plan: Plan, inputs: dict[str, Codes], number: int) -> list[list[bytes]]:
    """What each party says, message by message."""
    said: list[list[bytes]] = [[], []]
    run_plan(plan, {}, inputs, number, lambda link: RecordingLink(link, said[link.index]))
    return said


def words_of(said: list[list[bytes]], message: int) -> np.ndarray:
    """A message's words: party 0's, party 1's, and what they open."""
    first, second = (np.frombuffer(party[message], np.uint64) for party in said)
    return np.stack([first, second, first + second])


@pytest.mark.parametrize("kind", ["any", "all equal"])
def test_opened_ranks_are_a_uniform_permutation(kind: str) -> None:
    """For fixed scores every order comes up equally often, by a chi-square test; with equal scores, too.

    So the opened ranks do not depend on the scores.
    """
    runs, inputs = 240, scores_of(3, kind, seed=4)
    plan = make_plan(ordering(3), OBJECTIVES["rounds"])
    seen = Counter(tuple(words_of(recorded(plan, inputs, number), -1)[2].tolist()) for number in range(1, runs + 1))
    assert set(seen) == set(permutations(range(3)))
    expected = runs / 6
    assert sum((count - expected) ** 2 / expected for count in seen.values()) < 20.5  # 5 degrees of freedom, p = 0.001


def test_everything_else_that_is_said_is_uniform() -> None:
    """For one fixed input, every bit of a party's share and of the opened shuffled scores is set half of the time."""
    seeds, inputs = 100, scores_of(16, "all equal")  # 120 pairs: packed bits fill their bytes
    for plan in every_way(ordering(16)):
        saids = [recorded(plan, inputs, number) for number in range(1, seeds + 1)]
        for message in range(len(plan.messages)):
            if message in (0, 1):  # scores, then the shuffled scores
                seen = np.stack([words_of(said, message) for said in saids]).view(np.uint8)
            else:  # packed bits of comparisons, then shares of ranks, whose sum is not uniform
                parts = [[np.frombuffer(party[message], np.uint8) for party in said] for said in saids]
                seen = np.array(parts)
            bits = np.unpackbits(seen, axis=-1).astype(np.float64)
            assert (np.abs(bits.mean(0) - 0.5) < 5 * 0.5 / np.sqrt(seeds) + 1e-9).all()
            assert (np.abs(bits.mean((0, 2)) - 0.5) < 5 * 0.5 / np.sqrt(seeds * bits.shape[2])).all()


def test_the_dealer_s_part_does_not_tell_the_order_of_the_shuffle() -> None:
    """The two parties' shares of a shuffle are fresh each time: no run repeats another's messages."""
    inputs = scores_of(8, "any")
    plan = make_plan(ordering(8), OBJECTIVES["rounds"])
    first, second = ({message for party in recorded(plan, inputs, number) for message in party} for number in (1, 2))
    assert not first & second


class _LastFlipped(Link):
    """Changes the lowest bit of what this party says in message ``number``."""

    def __init__(self, inner: Link, number: int) -> None:
        super().__init__(inner.index, inner.parties)
        self._inner, self._number = inner, number

    def _put(self, peer: int, frame: Frame) -> None:
        if frame.sequence == self._number:
            payload = bytearray(frame.payload)
            payload[0] ^= 1
            frame = Frame(frame.sequence, frame.tag, bytes(payload))
        self._inner._put(peer, frame)

    def _get(self, peer: int) -> Frame:
        return self._inner._get(peer)

    def close(self) -> None:
        self._inner.close()


def test_ranks_that_are_no_permutation_are_refused() -> None:
    """A peer that changes a rank ends the session with a typed error that shows no rank."""
    plan = make_plan(ordering(5), OBJECTIVES["rounds"])
    inputs = scores_of(5, "any")

    def tampered(link: Link) -> Link:
        return _LastFlipped(link, len(plan.messages) - 1) if link.index == 1 else link

    with pytest.raises(ProtocolViolation, match="5 scores that are no permutation") as caught:
        run_plan(plan, {}, inputs, wrap_link=tampered)
    assert caught.value.expected == "every place from 0 to 4 once"


def test_scores_beyond_their_range_wrap() -> None:
    """Comparisons that go round in circles are noticed; a single score far away is not, and comes at the wrong end."""
    inputs = {"x0": np.array([0, 3 << 13, 6 << 13])}
    with pytest.raises(ProtocolViolation, match="calibrated range"):
        run_on_fast(ordering(3, bound=1.99), {}, inputs)
    run = run_on_fast(ordering(3, bound=1.99), {}, {"x0": np.array([0, 100, 3 << 13])})
    assert run.output.argmax(-1).tolist() == [1, 0, 2]


def sorting() -> Program:
    """Rescaled rows in the order of rescaled scores, both of ranges in which openings are often ambiguous."""
    rows, scores = t((6, 2)), t((6,), bound=5.0)

    def wide(kind: TensorType) -> TensorType:
        return TensorType(kind.shape, QType(frac=52, lo=-200.0, hi=200.0))

    nodes = (
        Node("scores", Rescale(40), ("s",), scores),
        Node("rows", Rescale(40), ("x",), rows),
        Node("order", Order(), ("scores",), TensorType((6, 6), QType(frac=0, lo=0.0, hi=1.0))),
        Node("sorted", Matmul(), ("order", "rows"), rows),
    )
    return Program({"x": wide(rows), "s": wide(scores)}, {}, nodes, "sorted")


def test_rows_are_sorted_however_many_attempts_it_takes() -> None:
    """The product with the order sorts rows, also after attempts that an ambiguous opening ended."""
    program, scores = sorting(), scores_of(6, "many ties")["x0"]
    rows = np.random.default_rng(2).integers(-30_000, 30_000, (6, 2))
    expected = rows[sorted(range(6), key=lambda i: (-int(scores[i]), i))].tolist()
    inputs = {"x": rows << 40, "s": scores << 40}
    seen: Counter[bool] = Counter()
    for number in range(1, 25):
        run = run_on_fast(program, {}, inputs, number)
        assert run.output.tolist() == replay(run, {}, inputs).tolist() == expected
        seen[run.repeated] += 1
    assert set(seen) == {True, False}


@pytest.mark.parametrize(
    ("scores", "error"),
    [
        (t((4, 1)), ProgramError),
        (t((1,)), ProgramError),
        (t((4,), frac=40, bound=2.0**19), RangeError),
    ],
)
def test_inputs_that_do_not_fit_are_refused(scores: TensorType, error: type) -> None:
    """Matrices, a single score, and scores that leave no room for positions are typed errors."""
    with pytest.raises(error):
        Order().infer(scores)


def test_reference_takes_batches() -> None:
    """Every element of a batch has its own order."""
    scores = torch.tensor([[0, 5, 2], [9, 1, 1]])
    assert Order().reference(scores).argmax(-1).tolist() == [[1, 2, 0], [0, 1, 2]]
