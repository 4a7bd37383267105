"""Labels found under MPC: secure against plaintext on every executor, and what they cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.masked.objective import OBJECTIVES
from mpcvit.engines.masked.plan import make_plan
from mpcvit.engines.masked.protocols.nonnegative import sign_protocols
from mpcvit.errors import ProgramError, RangeError
from mpcvit.export.builder import Builder, Precision
from mpcvit.export.ranking import top_labels
from mpcvit.export.vit import INPUT, export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.ops import Nonnegative, Op, PairDifferences, Pick, Ranks, TensorType
from mpcvit.program.program import Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import QType
from mpcvit.wire.reveal import Disclosure
from tests.support.fast import replay, run_on_fast, run_plan
from tests.support.images import make_images, pixel_codes
from tests.support.models import TINY
from tests.support.secure import one_op, random_codes, run_secure

BOUND = 8.0
SCORES = QType(frac=12, lo=-BOUND, hi=BOUND)
SIZES = [(2, 1), (2, 2), (3, 1), (3, 3), (10, 1), (10, 4), (10, 10), (33, 1), (33, 7), (100, 1), (100, 12)]


def ranking(classes: int, top: int) -> Program:
    """The Program from scores to the ``top`` likeliest labels."""
    b = Builder(Precision())
    scores = b.input("scores", torch.zeros(1, classes, dtype=torch.float64), SCORES)
    return b.program(top_labels(b, "labels", scores, top))


def in_order(codes: Codes, top: int) -> list[int]:
    """The definition: largest first, equal ones by position; and how many there are."""
    return [*sorted(range(len(codes)), key=lambda i: (-int(codes[i]), i))[:top], top]


def scores(classes: int, kind: str, seed: int = 1) -> Codes:
    """Codes of scores of one kind."""
    generator = np.random.default_rng(seed)
    largest = int(BOUND) << 12
    if kind == "all equal":
        return np.full(classes, -77, dtype=np.int64)
    if kind == "many ties":
        return generator.integers(-1, 2, classes)
    if kind == "negative":
        return generator.integers(-largest, 0, classes)
    if kind == "ends of the range":
        return generator.choice(np.array([-largest, largest]), classes)
    return generator.integers(-largest, largest, classes, endpoint=True)


KINDS = ["any", "all equal", "many ties", "negative", "ends of the range"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("classes", "top"), SIZES)
def test_reference_is_the_order(classes: int, top: int, kind: str) -> None:
    """The Program in clear gives the positions of the largest scores, equal ones in order, whatever the tournament."""
    codes = scores(classes, kind)
    assert run_reference(ranking(classes, top), {}, {"scores": codes[None]})[0].tolist() == in_order(codes, top)


@pytest.mark.parametrize("classes", [2, 3, 10, 33, 100])
def test_every_top_is_the_start_of_the_order(classes: int) -> None:
    """k = 1 .. classes, on scores with ties."""
    codes = scores(classes, "many ties", seed=classes)
    for top in range(1, classes + 1):
        assert run_reference(ranking(classes, top), {}, {"scores": codes[None]})[0].tolist() == in_order(codes, top)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("classes", "top"), SIZES)
def test_fast_engine_is_exact(classes: int, top: int, kind: str) -> None:
    """Bit for bit the reference, ties and ends of the range included; messages and material are the plan's."""
    program, codes = ranking(classes, top), scores(classes, kind, seed=top)
    run = run_on_fast(program, {}, {"scores": codes}, number=top)
    assert run.output.tolist() == replay(run, {}, {"scores": codes}).tolist() == in_order(codes, top)
    for trace in run.traces:
        total = trace.total()
        sent_for_weights = trace.of("weights")
        assert total.rounds - sent_for_weights.rounds == len(run.plan.messages)
        assert total.bytes_sent - sent_for_weights.bytes_sent == sum(run.plan.messages)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=lambda objective: objective.name)
def test_every_objective_is_exact(objective: object) -> None:
    """Whichever way signs are found, the labels are right."""
    program, codes = ranking(33, 3), scores(33, "many ties")
    run = run_on_fast(program, {}, {"scores": codes}, objective=objective)
    assert run.output.tolist() == in_order(codes, 3)


def test_all_signs_are_exact_in_every_way() -> None:
    """Every protocol of the sign gives [x >= 0] at zero, beside it and at the ends of the range."""
    kind = TensorType((8,), QType(frac=0, lo=-300.0, hi=300.0))
    program = one_op(Nonnegative(), kind)
    codes = np.array([0, 1, -1, 300, -300, 255, -256, 299])
    plan = make_plan(program, OBJECTIVES["lan"])
    protocols = sign_protocols(kind.shape, kind.qtype.code_bound)
    assert len(protocols) == 4
    guarded = [one for protocol in protocols if (one := protocol.with_guard()) is not None]
    assert len(guarded) == 1
    for protocol in protocols + guarded:
        steps = (replace(step, protocol=protocol) if step.name == "op" else step for step in plan.steps)
        run = run_plan(replace(plan, steps=tuple(steps)), {}, {"x0": codes})
        assert run.output.tolist() == [1, 1, 0, 1, 0, 1, 0, 1], protocol
        assert [count.bytes_sent for trace in run.traces for count in [trace.total()]] == [sum(run.plan.messages)] * 2


@pytest.mark.parametrize(("classes", "top"), [(2, 1), (3, 2), (10, 1), (33, 5), (100, 1)])
@pytest.mark.parametrize("parties", [2, 3])
def test_stock_engine_is_exact(classes: int, top: int, parties: int) -> None:
    """CrypTen's protocols give the same labels, and cost what is declared."""
    program, codes = ranking(classes, top), scores(classes, "many ties" if top > 1 else "any")
    run = run_secure(program, {}, {"scores": codes}, parties)
    assert run.output.tolist() == in_order(codes, top)
    declared = stock_cost(program, parties).total
    for party, trace in enumerate(run.traces):
        assert (trace.total().rounds, trace.total().bytes_sent) == (declared.rounds, declared.bytes_sent[party])


@pytest.mark.parametrize(("classes", "top", "rounds"), [(10, 1, 2), (10, 10, 2), (33, 1, 2), (100, 1, 4), (1000, 1, 6)])
def test_two_rounds_per_level(classes: int, top: int, rounds: int) -> None:
    """Over a WAN a level opens scores, then ranks: 10 labels take two messages of 80 bytes."""
    plan = make_plan(ranking(classes, top), OBJECTIVES["wan"])
    assert len(plan.messages) == rounds
    if classes == 10:
        assert plan.messages == (80, 80)
    assert sum(plan.messages) < 40_000
    assert max(plan.material) < 2_000_000


def test_a_thousand_labels() -> None:
    """A tournament of three levels finds the largest of 1000 scores."""
    program, codes = ranking(1000, 1), scores(1000, "any")
    run = run_on_fast(program, {}, {"scores": codes})
    assert run.output.tolist() == in_order(codes, 1)


@pytest.mark.parametrize("groups", [(3, 1), (5, 2, 1), (5, 1)])
@pytest.mark.parametrize("top", [1, 2])
def test_an_attempt_that_is_repeated_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, groups: tuple[int, ...], top: int
) -> None:
    """Scores rescaled with bounds so wide that openings are ambiguous: the attempt that succeeds is right."""
    monkeypatch.setattr("mpcvit.export.ranking.tournament", lambda count, top: groups)
    b = Builder(Precision())
    wide = b.input("scores", torch.zeros(1, 10, dtype=torch.float64), QType(frac=40, lo=-(2.0**18), hi=2.0**18))
    program = b.program(top_labels(b, "labels", b.rescale("short", wide), top))
    codes = scores(10, "any") << 28
    runs = [run_on_fast(program, {}, {"scores": codes}, number=number) for number in range(1, 17)]
    for run in runs:
        assert run.output.tolist() == replay(run, {}, {"scores": codes}).tolist() == in_order(codes, top)
    assert any(run.repeated for run in runs)


VALUES = TensorType((9,), QType(frac=5, lo=-20.0, hi=20.0))


def _integers(count: int, largest: float) -> TensorType:
    return TensorType((count,), QType(frac=0, lo=0.0, hi=largest))


CASES: list[tuple[Op, tuple[TensorType, ...]]] = [
    (PairDifferences(1), (VALUES,)),
    (PairDifferences(4), (VALUES,)),
    (Nonnegative(), (TensorType((2, 7), SCORES),)),
    (Ranks(9, 2), (_integers(16, 1.0),)),
    (Pick(1, 2), (_integers(9, 8.0),)),
    (Pick(2, 9), (_integers(9, 4.0), VALUES)),
    (Pick(4, 3), (_integers(9, 2.0), VALUES)),
    (Pick(1, 1), (_integers(2, 1.0), TensorType((2,), SCORES))),
    (Pick(1, 2, counted=True), (_integers(9, 8.0),)),
    (Pick(1, 9, counted=True), (_integers(9, 8.0),)),
    (Pick(2, 2, counted=True), (_integers(9, 4.0), _integers(9, 30.0))),
]


@pytest.mark.parametrize(("op", "kinds"), CASES, ids=[f"{op.name}-{number}" for number, (op, _) in enumerate(CASES)])
def test_every_op_is_exact_alone(op: Op, kinds: tuple[TensorType, ...]) -> None:
    """Reference, fast engine and stock engine agree on any codes of the domain, also such as no ranking gives."""
    program, generator = one_op(op, *kinds), np.random.default_rng(5)
    inputs = {name: random_codes(kind, generator) for name, kind in program.inputs.items()}
    expected = run_reference(program, {}, {name: codes[None] for name, codes in inputs.items()})[0].tolist()
    assert run_on_fast(program, {}, inputs).output.tolist() == expected
    for parties in (2, 3):
        run = run_secure(program, {}, inputs, parties)
        assert run.output.tolist() == expected
        declared = stock_cost(program, parties).nodes["op"]
        assert run.traces[0].total("op").bytes_sent == declared.bytes_sent[0]
        assert run.traces[0].total("op").rounds == declared.rounds


@pytest.mark.parametrize(
    ("op", "kinds", "error"),
    [
        (PairDifferences(5), (VALUES,), ProgramError),
        (PairDifferences(0), (VALUES,), ProgramError),
        (PairDifferences(1), (TensorType((3, 3), SCORES),), ProgramError),
        (Ranks(9, 1), (_integers(35, 1.0),), ProgramError),
        (Ranks(9, 1), (TensorType((36,), SCORES),), ProgramError),
        (Pick(1, 0), (_integers(9, 8.0),), ProgramError),
        (Pick(1, 1), (_integers(9, 8.0), TensorType((8,), SCORES)), ProgramError),
        (Pick(1, 1), (_integers(5000, 4999.0),), ProgramError),
        (Pick(1, 1), (_integers(9, 9.0),), RangeError),
        (Pick(3, 1), (_integers(9, 8.0),), RangeError),
        (Pick(1, 1, counted=True), (_integers(9, 8.0), VALUES), ProgramError),
    ],
)
def test_inputs_that_do_not_fit_are_refused(op: Op, kinds: tuple[TensorType, ...], error: type) -> None:
    """Groups of one, matrices, wrong lengths and ranks outside the domain are typed errors."""
    with pytest.raises(error):
        op.infer(*kinds)


@pytest.mark.parametrize("reveal", [Disclosure.label(), Disclosure.topk(2), Disclosure.topk(3)], ids=str)
def test_a_model_that_reveals_labels(tiny_model: VisionTransformer, reveal: Disclosure) -> None:
    """An exported model gives its likeliest labels on both engines, and its reference those of the float model."""
    images = make_images(TINY, 64)
    exported = export_vit(tiny_model, images, reveal=reveal)
    codes = pixel_codes(images)
    with torch.inference_mode():
        expected = np.argsort(-tiny_model(images).numpy(), kind="stable")[:, : reveal.top]
    found = np.full((len(images), 1), reveal.top)
    expected = np.concatenate([expected, found], axis=1)
    assert (run_reference(exported.program, exported.weights, {INPUT: codes}) == expected).mean() > 0.95
    inputs = {INPUT: codes[0]}
    run = run_on_fast(exported.program, exported.weights, inputs)
    assert run.output.tolist() == replay(run, exported.weights, inputs).tolist() == expected[0].tolist()
    assert run_secure(exported.program, exported.weights, inputs).output.tolist() == expected[0].tolist()
