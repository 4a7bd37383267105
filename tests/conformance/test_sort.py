"""Sorting without anybody learning the order: every engine against the definition, and what parties see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from mpcvit.errors import ProgramError, ProtocolViolation, RangeError
from mpcvit.ops import Rescale, Sort, TensorType
from mpcvit.program.cost import stock_cost
from mpcvit.program.objective import DEFAULT_OBJECTIVE, OBJECTIVES
from mpcvit.program.plan import Plan, make_plan
from mpcvit.program.program import Node, Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import QType
from mpcvit.session.link import Frame, Link
from tests.cases import t
from tests.fast import FastRun, replay, run_on_fast, run_plan
from tests.links import RecordingLink
from tests.secure import one_op, run_secure

SIZES = [(2, 1), (3, 4), (17, 5), (64, 3)]
KINDS = ["any", "all equal", "many ties", "negative", "ends of the range"]
_BOUND = 5 << 12


def sorting(count: int, width: int, bound: float = 5.0) -> Program:
    """A Program that sorts rows ``x0`` by scores ``x1``."""
    return one_op(Sort(), t((count, width)), t((count,), bound=bound))


def inputs_of(count: int, width: int, kind: str, seed: int = 1) -> dict[str, Codes]:
    """Random rows, and scores of one kind."""
    generator = np.random.default_rng(seed)
    scores = {
        "any": generator.integers(-_BOUND, _BOUND, count, endpoint=True),
        "all equal": np.full(count, -77),
        "many ties": generator.integers(-1, 2, count),
        "negative": generator.integers(-_BOUND, 0, count),
        "ends of the range": generator.choice(np.array([-_BOUND, _BOUND]), count),
    }[kind]
    return {"x0": generator.integers(-30_000, 30_000, (count, width)), "x1": scores.astype(np.int64)}


def in_order(inputs: dict[str, Codes]) -> list[list[int]]:
    """The definition: largest score first, equal ones by position."""
    rows, scores = inputs["x0"], inputs["x1"]
    order = sorted(range(len(scores)), key=lambda i: (-int(scores[i]), i))
    return [rows[i].tolist() for i in order]


def every_way(program: Program) -> list[Plan]:
    """The plan with each way to compare."""
    plan = make_plan(program, DEFAULT_OBJECTIVE)
    kinds, index = program.input_types(program.nodes[-1]), plan.step_index["op"]
    return [
        replace(plan, steps=(*plan.steps[:index], replace(plan.steps[index], protocol=way), *plan.steps[index + 1 :]))
        for way in Sort().protocols(kinds, [])
    ]


def assert_cost(run: FastRun) -> None:
    """Rounds and bytes are the plan's."""
    for trace in run.traces:
        assert (trace.total().rounds, trace.total().bytes_sent) == (len(run.plan.messages), sum(run.plan.messages))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "width"), SIZES)
def test_fast_engine_is_exact(count: int, width: int, kind: str) -> None:
    """The definition, the reference and the engine agree, whatever the shuffle; messages are the plan's."""
    program, inputs = sorting(count, width), inputs_of(count, width, kind)
    expected = in_order(inputs)
    batch = {name: codes[None] for name, codes in inputs.items()}
    assert run_reference(program, {}, batch)[0].tolist() == expected
    for number in (1, 2):
        run = run_on_fast(program, {}, inputs, number)
        assert run.output.tolist() == replay(run, {}, inputs).tolist() == expected
        assert_cost(run)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=lambda objective: objective.name)
def test_every_objective_is_exact(objective: object) -> None:
    """Whichever way pairs are compared."""
    program, inputs = sorting(17, 5), inputs_of(17, 5, "many ties")
    run = run_on_fast(program, {}, inputs, objective=objective)
    assert run.output.tolist() == in_order(inputs)
    assert_cost(run)


def test_two_rounds_behind_the_opening_of_the_rows() -> None:
    """With comparisons that take no round: the shuffled scores, then their ranks; the dealer sends rows to party 1."""
    plan = make_plan(sorting(64, 128), OBJECTIVES["rounds"])
    assert plan.messages == (8 * 64 * 129, 8 * 64, 8 * 64)
    first, second = plan.steps[plan.step_index["op"]].protocol.material()
    assert second - first == 8 * (64 * 63 // 2) + 8 * 64 * (64 + 128 + 2)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize(("count", "width"), SIZES[:3])
def test_stock_engine_is_exact(count: int, width: int, parties: int) -> None:
    """CrypTen's protocols give the same rows without opening anything, and cost what is declared."""
    program = sorting(count, width)
    for kind in ("any", "many ties"):
        inputs = inputs_of(count, width, kind)
        run = run_secure(program, {}, inputs, parties)
        assert run.output.tolist() == in_order(inputs)
        declared = stock_cost(program, parties)
        for party, trace in enumerate(run.traces):
            assert trace.total().bytes_sent == declared.total.bytes_sent[party]
            assert trace.total().rounds == declared.total.rounds
    assert declared.nodes["op"].comparisons == count * (count - 1) // 2
    assert declared.nodes["op"].macs == count**2 * width


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
    runs, inputs = 240, inputs_of(3, 1, kind, seed=4)
    plan = make_plan(sorting(3, 1), OBJECTIVES["rounds"])
    seen = Counter(tuple(words_of(recorded(plan, inputs, number), -1)[2].tolist()) for number in range(1, runs + 1))
    assert set(seen) == set(permutations(range(3)))
    expected = runs / 6
    assert sum((count - expected) ** 2 / expected for count in seen.values()) < 20.5  # 5 degrees of freedom, p = 0.001


def test_everything_else_that_is_said_is_uniform() -> None:
    """For one fixed input, every bit of a party's share and of the opened shuffled scores is set half of the time."""
    seeds, inputs = 100, inputs_of(16, 2, "all equal")  # 120 pairs: packed bits fill their bytes
    for plan in every_way(sorting(16, 2)):
        saids = [recorded(plan, inputs, number) for number in range(1, seeds + 1)]
        for message in range(len(plan.messages)):
            if message in (0, 1):  # rows and scores, then the shuffled scores
                seen = np.stack([words_of(said, message) for said in saids]).view(np.uint8)
            else:  # packed bits of comparisons, then shares of ranks, whose sum is not uniform
                parts = [[np.frombuffer(party[message], np.uint8) for party in said] for said in saids]
                seen = np.array(parts)
            bits = np.unpackbits(seen, axis=-1).astype(np.float64)
            assert (np.abs(bits.mean(0) - 0.5) < 5 * 0.5 / np.sqrt(seeds) + 1e-9).all()
            assert (np.abs(bits.mean((0, 2)) - 0.5) < 5 * 0.5 / np.sqrt(seeds * bits.shape[2])).all()


def test_the_dealer_s_part_does_not_tell_the_order_of_the_shuffle() -> None:
    """The two parties' shares of a shuffle are fresh each time: no run repeats another's messages."""
    inputs = inputs_of(8, 3, "any")
    plan = make_plan(sorting(8, 3), OBJECTIVES["rounds"])
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
    plan = make_plan(sorting(5, 2), OBJECTIVES["rounds"])
    inputs = inputs_of(5, 2, "any")

    def tampered(link: Link) -> Link:
        return _LastFlipped(link, len(plan.messages) - 1) if link.index == 1 else link

    with pytest.raises(ProtocolViolation, match="5 rows that are no permutation") as caught:
        run_plan(plan, {}, inputs, wrap_link=tampered)
    assert caught.value.expected == "every place from 0 to 4 once"


def test_scores_beyond_their_range_are_noticed() -> None:
    """Scores so far apart that comparisons go round in circles do not give rows in some wrong order."""
    inputs = {"x0": np.zeros((3, 1), dtype=np.int64), "x1": np.array([0, 3 << 13, 6 << 13])}
    with pytest.raises(ProtocolViolation, match="calibrated range"):
        run_on_fast(sorting(3, 1, bound=1.99), {}, inputs)


@pytest.mark.parametrize("rescaled", ["x0", "x1"])
def test_repeated_openings_of_what_is_sorted(rescaled: str) -> None:
    """Rows or scores whose opening was ambiguous are sorted under a new shuffle and new masks."""
    kinds = {"x0": t((6, 2)), "x1": t((6,), bound=5.0)}
    wide = TensorType(kinds[rescaled].shape, QType(frac=52, lo=-200.0, hi=200.0))
    nodes = (
        Node("short", Rescale(40), (rescaled,), kinds[rescaled]),
        Node("op", Sort(), tuple("short" if name == rescaled else name for name in kinds), kinds["x0"]),
    )
    program = Program({**kinds, rescaled: wide}, {}, nodes, "op")
    plain = inputs_of(6, 2, "many ties")
    inputs = {**plain, rescaled: plain[rescaled] << 40}
    runs = [run_on_fast(program, {}, inputs, number) for number in range(1, 13)]
    for run in runs:
        assert run.output.tolist() == replay(run, {}, inputs).tolist() == in_order(plain)
    assert any(run.reopened for run in runs)
    assert any(not run.reopened for run in runs)


@pytest.mark.parametrize(
    ("rows", "scores", "error"),
    [
        (t((4,)), t((4,)), ProgramError),
        (t((4, 2)), t((4, 1)), ProgramError),
        (t((4, 2)), t((3,)), ProgramError),
        (t((1, 2)), t((1,)), ProgramError),
        (t((4, 2)), t((4,), frac=40, bound=2.0**19), RangeError),
    ],
)
def test_inputs_that_do_not_fit_are_refused(rows: TensorType, scores: TensorType, error: type) -> None:
    """Vectors, wrong lengths, single rows, and scores that leave no room for positions are typed errors."""
    with pytest.raises(error):
        Sort().infer(rows, scores)


@pytest.mark.parametrize("make", [torch.zeros, torch.ones])
def test_reference_takes_batches(make: Callable[..., torch.Tensor]) -> None:
    """Every element of a batch is sorted by its own scores."""
    scores = make((2, 3), dtype=torch.int64) + torch.tensor([[0, 5, 2], [9, 1, 1]])
    rows = torch.arange(12).reshape(2, 3, 2)
    assert Sort().reference(rows, scores).tolist() == [[[2, 3], [4, 5], [0, 1]], [[6, 7], [8, 9], [10, 11]]]
