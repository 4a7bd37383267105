"""Answers of every kind: what the client makes of a joined result, and what it refuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from mpcvit.cli.answer import describe
from mpcvit.client import Client, Inference, MockTransport
from mpcvit.client.answers import ANSWERS, Classification, LabelMap, Match, Scalar, Scores, Tags, Vector
from mpcvit.client.transport import OnProgress
from mpcvit.errors import AnswerOutOfRange, NotRevealed
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.reveal import Disclosure, RevealKind
from tests.support.answers import MAP, MATCH, SCALAR, SCORES, TAGS, VECTOR, stand_in
from tests.support.stand_in import MANIFEST, PIXELS

ONE = 2**12
#: What the stand-ins compute: three numbers, or a map of 2 x 4 places whose likeliest labels are these.
NUMBERS = np.array([2 * ONE, -ONE // 2, 0])
LABELS = np.array([[0, 1, 2, 2], [2, 0, 0, 2]])


def ask(reveal: Disclosure, computed: Codes) -> Inference:
    """The answer of fake parties whose model computes this."""
    with Client(MockTransport.parties(stand_in(reveal), lambda codes: computed)) as client:
        return client.infer(PIXELS)


def ask_liars(reveal: Disclosure, result: list[int]) -> Inference:
    """The answer of parties whose shares add up to ``result``."""

    class Wrong(MockTransport):
        def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
            _, stats = super().fetch(session_id, deadline, progress)
            return ResultShare(np.array(result) if self._index == 0 else np.zeros(len(result), dtype=np.int64)), stats

    with Client(Wrong.parties(stand_in(reveal), lambda codes: np.zeros((2, 4, 3), dtype=np.int64))) as client:
        return client.infer(PIXELS)


def test_every_kind_has_a_type() -> None:
    """The client makes something of whatever a manifest may say."""
    assert set(ANSWERS) == set(RevealKind)


def test_scores_are_sigmoids() -> None:
    """One for each label, in order of size by name; no overflow however large a logit is."""
    answer = ask(SCORES, NUMBERS).answer
    assert isinstance(answer, Scores)
    expected = {"a": 1 / (1 + math.exp(-2)), "c": 0.5, "b": 1 / (1 + math.exp(0.5))}
    assert answer.by_label == pytest.approx(expected)
    assert list(answer.by_label) == list(expected)
    extreme = Scores(("a", "b"), np.array([-1e4, 1e4]))
    assert extreme.scores.tolist() == [0.0, 1.0]


def test_tags_are_the_labels_that_score_enough() -> None:
    """At a threshold of 0.4 a score of 0.5 does, one of 0.38 does not; and there may be none."""
    answer = ask(TAGS, np.array([0, -ONE // 2, 3 * ONE])).answer
    assert isinstance(answer, Tags)
    assert (answer.present, answer.names) == ((True, False, True), ("a", "c"))
    none = ask_liars(TAGS, [0, 0, 0]).answer
    assert isinstance(none, Tags)
    assert none.names == ()


def test_vectors_and_scalars_are_numbers() -> None:
    """In the units of the model."""
    vector = ask(VECTOR, NUMBERS).answer
    assert isinstance(vector, Vector)
    assert vector.values.tolist() == [2.0, -0.5, 0.0]
    scalar = ask(SCALAR, NUMBERS[:1]).answer
    assert isinstance(scalar, Scalar)
    assert scalar.value == 2.0


def test_a_match_is_a_bit() -> None:
    """Yes or no."""
    for bit in (0, 1):
        answer = ask(MATCH, np.array([bit])).answer
        assert isinstance(answer, Match)
        assert answer.matches is bool(bit)


def test_a_map_has_a_label_for_every_place() -> None:
    """And can be laid over a picture of any size."""
    answer = ask(MAP, np.eye(3, dtype=np.int64)[LABELS]).answer
    assert isinstance(answer, LabelMap)
    assert answer.classes.tolist() == LABELS.tolist()
    assert answer.areas == {"c": 0.5, "a": 0.375, "b": 0.125}
    assert list(answer.areas) == ["c", "a", "b"]
    assert answer.resized(2, 4).tolist() == LABELS.tolist()
    assert answer.resized(6, 8).tolist() == LABELS.repeat(3, 0).repeat(2, 1).tolist()
    assert answer.resized(1, 3).shape == (1, 3)


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("change", ["none", "two", "another's", "negative", "extreme"])
def test_maps_that_no_order_gave_are_refused(place: int, change: str) -> None:
    """A place with no label or with two, whatever else there is; also if the number of all seems right."""
    positions = (LABELS.reshape(-1) + 3 * np.arange(8)).tolist()
    assert ask_liars(MAP, [*positions, 8]).answer
    wrong, count = {
        "none": (0, 7),
        "two": (positions[place] + 3 * place + 1, 9),
        "another's": (positions[(place + 1) % 8], 8),
        "negative": (-1, 8),
        "extreme": (-(2**63), 8),
    }[change]
    for number in {count, 8}:
        if number == 8 and place == 0 and change in ("none", "two"):
            continue  # the number of all is what tells
        with pytest.raises(AnswerOutOfRange):
            ask_liars(MAP, [*positions[:place], wrong, *positions[place + 1 :], number])


@pytest.mark.parametrize("code", [64 * ONE + 2, -64 * ONE - 2, 2**62, -(2**63)])
def test_numbers_out_of_range_are_refused(code: int) -> None:
    """The manifest says which numbers the model can give; nothing of others is told."""
    for reveal, result in ((SCORES, [0, code, 0]), (VECTOR, [0, 0, code]), (SCALAR, [code])):
        assert ask_liars(reveal, [64 * ONE] * len(result)).answer
        with pytest.raises(AnswerOutOfRange, match="from -64 to 64") as caught:
            ask_liars(reveal, result)
        assert str(code) not in str(caught.value)


@pytest.mark.parametrize("code", [2, -1, 2**62, -(2**63)])
def test_bits_that_are_none_are_refused(code: int) -> None:
    """Tags and matches are 0 or 1."""
    for reveal, result in ((TAGS, [0, 1, code]), (MATCH, [code])):
        with pytest.raises(AnswerOutOfRange, match="no bits") as caught:
            ask_liars(reveal, result)
        assert str(code) not in caught.value.got


@pytest.mark.parametrize("reveal", [SCORES, TAGS, VECTOR, SCALAR, MAP, MATCH], ids=lambda reveal: reveal.kind)
def test_answers_hide_themselves(reveal: Disclosure) -> None:
    """No repr shows anything, what is not there is a typed error, and all of it is JSON."""
    answer = ask_liars(reveal, {SCALAR: [ONE], MATCH: [1], MAP: [*(3 * np.arange(8)), 8]}.get(reveal, [0, 1, 1]))
    assert repr(answer.answer) == f"{type(answer.answer).__name__}(<hidden>)"
    assert repr(answer.answer) not in repr(answer)
    for request in (lambda: answer.label, lambda: answer.logits, lambda: answer.probabilities, answer.top):
        with pytest.raises(NotRevealed, match="no more than the model reveals"):
            request()
    document = json.loads(json.dumps(describe(answer)))
    assert document["reveal"] == reveal.kind
    assert set(document) & {"scores", "tags", "vector", "scalar", "map", "match"} == {str(reveal.kind)}


def test_labels_are_answers_too() -> None:
    """What classifies has a type as well."""
    with Client(MockTransport.parties(MANIFEST, lambda codes: NUMBERS)) as client:
        answer = client.infer(PIXELS).answer
    assert isinstance(answer, Classification)
    assert (answer.label, answer.ranking) == ("a", (0, 2, 1))
    assert "hidden" in repr(answer)
    manifest = replace(MANIFEST, reveal=Disclosure.topk(2))
    with Client(MockTransport.parties(manifest, lambda codes: NUMBERS)) as client:
        assert client.infer(PIXELS).answer.to_json() == {"label": "a", "top": ["a", "c"]}
