"""Every kind of answer on both engines: secure against plaintext, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.masked.objective import OBJECTIVES
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.builder import Builder, Precision
from mpcvit.export.exported import INPUT
from mpcvit.export.matching import matches
from mpcvit.export.place_labels import place_labels, tournament
from mpcvit.export.vit import export_vit
from mpcvit.program.program import Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import QType
from mpcvit.store.enrolment import REFERENCE
from mpcvit.wire.ranges import Ranges
from mpcvit.wire.reveal import Disclosure
from tests.support.answers import (
    IMAGES,
    MAP,
    MATCH,
    SCALAR,
    SCORES,
    TAGS,
    VECTOR,
    expected,
    make_float,
    make_folder,
    real_outputs,
)
from tests.support.fast import assert_cost, replay, run_on_fast
from tests.support.images import pixel_codes
from tests.support.secure import run_secure

INTEGERS, REALS = [TAGS, MAP, MATCH], [SCORES, VECTOR, SCALAR]
KIND = QType(frac=12, lo=-8.0, hi=8.0)


@pytest.mark.parametrize("reveal", INTEGERS, ids=lambda reveal: reveal.kind)
def test_reference_decides_as_the_float_model(reveal: Disclosure) -> None:
    """Bits and labels in clear, of pictures whose float answer is not within rounding of another one."""
    model = make_folder(reveal)
    assert model.program.ranges is Ranges.PROVEN
    codes = run_reference(model.program, model.weights, {INPUT: pixel_codes(IMAGES)})
    assert (codes == expected(reveal)).mean() > 0.99
    assert len(np.unique(codes[:, :-1] if reveal is MAP else codes)) > 1


@pytest.mark.parametrize("reveal", REALS, ids=lambda reveal: reveal.kind)
def test_numbers_are_those_of_the_float_model(reveal: Disclosure) -> None:
    """Up to rounding."""
    model = make_folder(reveal)
    codes = run_reference(model.program, model.weights, {INPUT: pixel_codes(IMAGES)})
    assert np.abs(codes / 2**12 - real_outputs(reveal)).max() < 0.05


@pytest.mark.parametrize("reveal", INTEGERS + REALS, ids=lambda reveal: reveal.kind)
def test_engines_give_what_the_reference_gives(reveal: Disclosure) -> None:
    """The fast engine bit for bit, at the plan's cost; the stock engine within roundings, at its declared cost."""
    model = make_folder(reveal)
    inputs = {INPUT: pixel_codes(IMAGES)[1]}
    run = run_on_fast(model.program, model.weights, inputs)
    assert run.trusted
    assert run.output.tolist() == replay(run, model.weights, inputs).tolist()
    assert_cost(run)
    declared = stock_cost(model.program, 2).total
    stock = run_secure(model.program, model.weights, inputs)
    assert np.abs(stock.output - run.output).max() <= (0 if reveal in INTEGERS else 40)
    for party, trace in enumerate(stock.traces):
        assert (trace.total().rounds, trace.total().bytes_sent) == (declared.rounds, declared.bytes_sent[party])


def test_tags_cost_no_more_rounds_than_scores() -> None:
    """The last opening is that of the logits, in place of their rescaling's."""
    tags, scores = (make_plan(make_folder(reveal).program, OBJECTIVES["wan"]) for reveal in (TAGS, SCORES))
    assert len(tags.messages) == len(scores.messages)


def test_calibrated_embeddings_match_alike() -> None:
    """Ranges that come from pictures hold for references that those were not compared with."""
    exported = export_vit(make_float(MATCH), IMAGES, Precision(calibrated=True), MATCH)
    assert exported.program.ranges is Ranges.CALIBRATED
    assert exported.program.types[exported.program.output].qtype.hi == 1
    weights = {**exported.weights, REFERENCE: make_folder(MATCH).weights[REFERENCE]}
    inputs = {INPUT: pixel_codes(IMAGES)}
    assert (run_reference(exported.program, weights, inputs) == expected(MATCH)).mean() > 0.99


def matching(threshold: float, count: int) -> Program:
    """The Program from an embedding to the bit."""
    b = Builder(Precision())
    embedding = b.input("embedding", torch.zeros(1, count, dtype=torch.float64), KIND)
    return b.program(matches(b, embedding, Disclosure.match(threshold)))


def reference_codes(program: Program, reference: np.ndarray, threshold: float) -> dict[str, Codes]:
    """The parameter that holds ``reference``."""
    scaled = reference / (np.linalg.norm(reference) * threshold)
    return {REFERENCE: np.rint(scaled[:, None] * 2.0 ** program.parameters[REFERENCE].frac).astype(np.int64)}


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.95])
def test_a_match_is_a_cosine_above_the_threshold(threshold: float) -> None:
    """Embeddings of any length, at any angle: those within 2^-9 of the threshold aside, in clear and on shares."""
    generator = np.random.default_rng(3)
    program, count = matching(threshold, 16), 400
    reference = generator.normal(size=16)
    towards, across = reference / np.linalg.norm(reference), generator.normal(size=(count, 16))
    across -= across @ towards[:, None] * towards
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    cosines = generator.uniform(-1, 1, (count, 1))
    cosines[::2] = threshold + generator.choice([-1, 1], (count // 2, 1)) * generator.uniform(
        2**-9, 2**-6, (count // 2, 1)
    )
    lengths = 2.0 ** generator.uniform(-1, 3, (count, 1))
    embeddings = np.rint(lengths * (cosines * towards + np.sqrt(1 - cosines**2) * across) * 2**12).astype(np.int64)
    exact = embeddings @ towards / np.linalg.norm(embeddings, axis=1)
    sure = np.abs(exact - threshold) > 2**-9 / np.minimum(lengths[:, 0], 1)
    weights = reference_codes(program, reference, threshold)
    found = run_reference(program, weights, {"embedding": embeddings})[:, 0]
    assert (found == (exact >= threshold))[sure].all()
    assert sure.mean() > 0.8
    for number in range(4):
        run = run_on_fast(program, weights, {"embedding": embeddings[number]}, number=number + 1)
        assert run.output.tolist() == replay(run, weights, {"embedding": embeddings[number]}).tolist()
        assert_cost(run)


def test_nothing_matches_zeros() -> None:
    """Neither an embedding of zeros, nor a reference that nobody has put in yet, nor the opposite of the reference."""
    program = matching(0.5, 4)
    reference = np.array([1.0, 2.0, -1.0, 0.5])
    weights, nobody = reference_codes(program, reference, 0.5), {REFERENCE: np.zeros((4, 1), dtype=np.int64)}
    codes = (reference * 2**12).astype(np.int64)
    for embedding, chosen, found in (
        (codes, weights, 1),
        (0 * codes, weights, 0),
        (-codes, weights, 0),
        (codes, nobody, 0),
    ):
        assert run_on_fast(program, chosen, {"embedding": embedding}).output.tolist() == [found]
        assert run_secure(program, chosen, {"embedding": embedding}).output.tolist() == [found]


def test_the_program_says_nothing_of_the_reference() -> None:
    """Another reference: the same Program, so the same manifest's program, plan and dealer."""
    models = [make_folder(MATCH, reference) for reference in (None, 0, 1)]
    assert len({model.program.digest for model in models}) == 1
    assert not models[0].weights[REFERENCE].any()
    assert (models[1].weights[REFERENCE] != models[2].weights[REFERENCE]).any()


def mapping(labels: int, rows: int, columns: int) -> Program:
    """The Program from logits to the labels of all places."""
    b = Builder(Precision())
    logits = b.input("logits", torch.zeros(1, labels, rows, columns, dtype=torch.float64), KIND)
    return b.program(place_labels(b, "map", logits))


@pytest.mark.parametrize(
    ("labels", "rows", "columns"), [(2, 1, 1), (2, 5, 3), (3, 1, 4), (7, 2, 2), (60, 4, 4), (128, 3, 2)]
)
def test_maps_are_exact(labels: int, rows: int, columns: int) -> None:
    """The first of the largest logits of every place, ties and ends of the range included."""
    program, generator = mapping(labels, rows, columns), np.random.default_rng(labels)
    for codes in (
        generator.integers(-8 << 12, 8 << 12, (labels, rows, columns), endpoint=True),
        generator.integers(-1, 2, (labels, rows, columns)),
        generator.choice(np.array([-8 << 12, 8 << 12]), (labels, rows, columns)),
    ):
        places = rows * columns
        wanted = [*(codes.argmax(0).reshape(-1) + labels * np.arange(places)), places]
        run = run_on_fast(program, {}, {"logits": codes})
        assert run.output.tolist() == run_reference(program, {}, {"logits": codes[None]})[0].tolist() == wanted
        assert_cost(run)
    if labels < 10:
        assert run_secure(program, {}, {"logits": codes}, 3).output.tolist() == wanted


@pytest.mark.parametrize("labels", [2, 3, 19, 21, 150])
def test_tournaments_end(labels: int) -> None:
    """The last level has a group a place; many labels of many places are not all compared with each other."""
    levels = tournament(1024, labels)
    assert levels[-1] == 1024
    assert all(level % 1024 == 0 for level in levels)
    assert (len(levels) > 1) == (labels in (21, 150))
