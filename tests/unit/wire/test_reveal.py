"""What a model reveals: the choice at export, its files, and what the client can ask an answer for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpcvit.cli.answer import describe
from mpcvit.client import Client, Inference, MockTransport
from mpcvit.client.image import encode_picture
from mpcvit.client.transport import OnProgress
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import AnswerOutOfRange, ConfigError, InputError, ModelFileError, NotRevealed, ProtocolViolation
from mpcvit.export.ranking import tournament
from mpcvit.export.vit import export_vit
from mpcvit.measure.accuracy import Executor, evaluate, reference_answers, reference_logits
from mpcvit.models.vit import VisionTransformer
from mpcvit.ops.grouping import Grouping
from mpcvit.ring.qtype import QType
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.shared import load_share, share_model
from mpcvit.store.trained import save_model
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.owners import ANYBODY
from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.reveal import LOGITS, Disclosure, RevealKind
from tests.support.answers import MAP, MATCH, SCALAR, SCORES, TAGS, VECTOR, make_folder, stand_in
from tests.support.images import make_images
from tests.support.models import TINY, make_model
from tests.support.stand_in import MANIFEST, PIXELS, first_values

POSITIONS = QType(frac=0, lo=0, hi=2)
LABEL = replace(MANIFEST, output_type=POSITIONS, reveal=Disclosure.label())
TYPED = [SCORES, TAGS, VECTOR, SCALAR, MAP, MATCH]
TOP2 = replace(MANIFEST, output_type=POSITIONS, reveal=Disclosure.topk(2))


def ask(manifest: Manifest) -> Inference:
    """The answer of fake parties that serve ``manifest``."""
    with Client(MockTransport.parties(manifest, first_values)) as client:
        return client.infer(PIXELS)


def expected_order() -> list[str]:
    """The labels of the picture, likeliest first."""
    logits = first_values(encode_picture(PIXELS, MANIFEST))
    return ["abc"[index] for index in np.argsort(-logits, kind="stable")]


def test_a_label_comes_without_logits() -> None:
    """The label is there, and what is not revealed is a typed error that says what is."""
    answer = ask(LABEL)
    assert answer.label == expected_order()[0]
    assert answer.top() == answer.top(1) == [(answer.label, None)]
    assert answer.reveal == Disclosure.label()
    assert answer.ranking == ("abc".index(answer.label),)
    for request in (lambda: answer.logits, lambda: answer.probabilities, lambda: answer.top(2)):
        with pytest.raises(NotRevealed, match="reveals: its likeliest label alone") as caught:
            request()
        assert "'tiny'" in caught.value.got
        assert caught.value.remedy


def test_top_labels_come_in_order() -> None:
    """As many labels as are revealed, likeliest first; more are refused."""
    answer = ask(TOP2)
    assert answer.label == expected_order()[0]
    assert answer.top() == [(label, None) for label in expected_order()[:2]]
    assert answer.top(1) == answer.top()[:1]
    with pytest.raises(NotRevealed, match="its 2 likeliest labels alone"):
        answer.top(3)
    with pytest.raises(NotRevealed, match="the logits"):
        _ = answer.logits


def test_logits_reveal_everything() -> None:
    """With logits there are probabilities for all labels, in the same order."""
    answer = ask(MANIFEST)
    assert answer.reveal == LOGITS
    assert [label for label, _ in answer.top()] == expected_order()
    assert answer.top(2) == answer.top()[:2]
    assert answer.top(99) == answer.top()
    assert [probability for _, probability in answer.top()] == sorted(answer.probabilities, reverse=True)


def test_equal_logits_are_in_order_of_the_labels() -> None:
    """Ties go to the earlier label, whatever is revealed."""
    for manifest in (MANIFEST, LABEL, TOP2):
        with Client(MockTransport.parties(manifest, lambda codes: np.full(3, -5, dtype=np.int64))) as client:
            assert client.infer(PIXELS).label == "a"


def ask_liars(manifest: Manifest, result: list[int], digests: tuple[bytes, bytes] = (b"", b"")) -> Inference:
    """The answer of parties that serve ``manifest`` and give ``result``."""

    class Wrong(MockTransport):
        def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
            _, stats = super().fetch(session_id, deadline, progress)
            codes = np.array(result) if self._index == 0 else np.zeros(len(result), dtype=np.int64)
            return ResultShare(codes, digests[self._index]), stats

    with Client(Wrong.parties(manifest, first_values)) as client:
        return client.infer(PIXELS)


@pytest.mark.parametrize("result", [[3, 0], [-1, 0], [1, 1], [2**62, 0]])
def test_results_that_name_no_labels_are_refused(result: list[int]) -> None:
    """Positions out of range or named twice are no answer; the message does not show them."""
    with pytest.raises(AnswerOutOfRange) as caught:
        ask_liars(TOP2, [*result, 2])
    assert caught.value.got == "a joined result that names no labels"


@pytest.mark.parametrize("found", [0, 1, 3, -1, 2**63 - 1, -(2**63)])
def test_labels_that_no_order_gave_are_refused(found: int) -> None:
    """The last word says how many candidates took the revealed places: exactly one each."""
    assert ask_liars(TOP2, [1, 0, 2]).ranking == (1, 0)
    with pytest.raises(AnswerOutOfRange, match="2 labels found") as caught:
        ask_liars(TOP2, [1, 0, found] if found != 2 else [1, 0, 1])
    assert str(found) not in caught.value.got
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("code", [64 * 2**12 + 2, -64 * 2**12 - 2, 2**40, 2**63 - 1, -(2**63)])
def test_logits_out_of_range_are_refused(code: int) -> None:
    """The manifest says which logits the model can give; nothing of others is told."""
    assert ask_liars(MANIFEST, [64 * 2**12, 0, -64 * 2**12]).label == "a"
    with pytest.raises(AnswerOutOfRange, match="from -64 to 64") as caught:
        ask_liars(MANIFEST, [0, code, 0])
    assert str(code) not in str(caught.value)


@pytest.mark.parametrize("digests", [(b"a" * 32, b"b" * 32), (b"", b"a" * 32), (b"a" * 32, b"")])
def test_answers_behind_a_broken_guard_are_refused(digests: tuple[bytes, bytes]) -> None:
    """Digests that differ mean that a gate was wrong somewhere: no label, no logits."""
    for manifest, result in ((MANIFEST, [1, 2, 3]), (LABEL, [1, 1])):
        assert ask_liars(manifest, result, (b"a" * 32, b"a" * 32)).label
        with pytest.raises(AnswerOutOfRange, match="digests"):
            ask_liars(manifest, result, digests)


def test_a_result_of_another_length_is_refused() -> None:
    """Logits where labels are expected are never joined."""

    class Logits(MockTransport):
        def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
            _, stats = super().fetch(session_id, deadline, progress)
            return ResultShare(np.zeros(3, dtype=np.int64)), stats

    with (
        Client(Logits.parties(LABEL, first_values)) as client,
        pytest.raises(ProtocolViolation, match="expected 2 codes"),
    ):
        client.infer(PIXELS)


def test_answers_hide_their_ranking_in_repr() -> None:
    """repr shows neither label nor positions."""
    assert "hidden" in repr(ask(LABEL))
    assert "ranking" not in repr(ask(LABEL))


def test_json_shows_what_there_is() -> None:
    """``describe`` has probabilities only with logits, the labels always."""
    label, top, logits = (describe(ask(manifest)) for manifest in (LABEL, TOP2, MANIFEST))
    assert [item["reveal"] for item in (label, top, logits)] == ["label", "topk", "logits"]
    assert label["top"] == expected_order()[:1]
    assert top["top"] == expected_order()[:2]
    assert logits["top"] == expected_order()
    assert "probabilities" in logits
    assert not {"probabilities", "logits"} & (label.keys() | top.keys())
    json.dumps([label, top, logits])


def test_what_can_be_revealed() -> None:
    """Every kind has its number of labels; words of a command line mean the same."""
    assert Disclosure.parse("logits") == Disclosure() == LOGITS
    assert Disclosure.parse("label") == Disclosure.parse("label", 1) == Disclosure.label()
    assert Disclosure.parse("topk", 3) == Disclosure.topk(3)
    assert [reveal.outputs(10) for reveal in (LOGITS, Disclosure.label(), Disclosure.topk(3))] == [10, 2, 4]
    for kind, top in (("logits", 3), ("label", 2), ("topk", None), ("topk", 0), ("topk", -1), ("ranks", None)):
        with pytest.raises(ConfigError):
            Disclosure.parse(kind, top)


def test_manifests_carry_it() -> None:
    """It survives the canonical form, changes the digest, and is checked when read."""
    assert Manifest.parse(LABEL.canonical()) == LABEL
    assert Manifest.parse(TOP2.canonical()).reveal.kind is RevealKind.TOPK
    assert [manifest.outputs for manifest in (MANIFEST, LABEL, TOP2)] == [3, 2, 3]
    plain = [replace(manifest, output_type=POSITIONS) for manifest in (MANIFEST, LABEL, TOP2)]
    assert len({manifest.digest for manifest in plain}) == 3
    for wrong in (
        None,
        {"kind": "label"},
        {"kind": "label", "top": 2},
        {"kind": "label", "top": "1"},
        {"kind": "label", "top": True},
        {"kind": "ranks", "top": 1},
        {"kind": "topk", "top": 4},
        {"kind": "topk", "top": 2, "more": 1},
    ):
        document = {**json.loads(LABEL.canonical()), "reveal": wrong}
        with pytest.raises(ModelFileError):
            Manifest.parse(json.dumps(document).encode())


def test_digests_of_before_there_were_other_kinds_stay() -> None:
    """Clients pin them, and owners signed what they are of."""
    known = {
        LOGITS: "8e94e4965a5e66f527c2ba6a40b4ec0bb613b2e9ac4a0285232d60ae33e3a6b5",
        Disclosure.label(): "8f4c07d4f47e17f2c2da54a8626dd7bfa02fd66a4caab44981b4ac8eeaa0a6ce",
        Disclosure.topk(2): "0923b88d8cb2f4dfbcf3dc961041a4c6d16e59615846164a3bd58137553b9a19",
    }
    assert {reveal: replace(MANIFEST, reveal=reveal).digest.hex() for reveal in known} == known


@pytest.mark.parametrize("reveal", TYPED, ids=lambda reveal: reveal.kind)
def test_manifests_carry_every_kind(reveal: Disclosure) -> None:
    """With its threshold or shape, and nothing that does not belong to it."""
    manifest = stand_in(reveal)
    assert Manifest.parse(manifest.canonical()) == manifest
    document = json.loads(manifest.canonical())
    found = document["reveal"]
    for wrong in (
        {**found, "top": 1},
        {**found, "threshold": 0.5} if "threshold" not in found else {**found, "threshold": 1},
        {**found, "threshold": None},
        {**found, "threshold": 1.5},
        {**found, "shape": []},
        {**found, "shape": [2, 2, 2]},
        {**found, "shape": [0]},
        {**found, "shape": [True, 4]},
        {**found, "shape": "2"},
    ):
        with pytest.raises(ModelFileError):
            Manifest.parse(_canonical({**document, "reveal": wrong}))
    labels = [] if document["labels"] else ["a"]
    with pytest.raises(ModelFileError):
        Manifest.parse(_canonical({**document, "labels": labels}))
    for needed in {"threshold", "shape"} & set(found):
        with pytest.raises(ModelFileError):
            Manifest.parse(_canonical({**document, "reveal": {k: v for k, v in found.items() if k != needed}}))


def _canonical(document: dict) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def test_kinds_and_thresholds_of_a_command_line() -> None:
    """Tags have a threshold that may be left out, a match one that may not, others none."""
    assert Disclosure.parse("tags") == Disclosure.tags(0.5)
    assert Disclosure.parse("tags", threshold=0.1) == Disclosure.tags(0.1)
    assert Disclosure.parse("match", threshold=0.7) == Disclosure.match(0.7)
    assert Disclosure.parse("scores").kind is RevealKind.SCORES
    for kind, threshold in (("match", None), ("scores", 0.5), ("tags", 0.0), ("match", 1.0), ("match", float("nan"))):
        with pytest.raises(ConfigError, match="threshold"):
            Disclosure.parse(kind, threshold=threshold)
    assert [stand_in(reveal).outputs for reveal in TYPED] == [3, 3, 3, 1, 9, 1]


@pytest.mark.parametrize("reveal", TYPED, ids=lambda reveal: reveal.kind)
def test_folders_carry_every_kind(reveal: Disclosure, tmp_path: Path) -> None:
    """From the exported folder through the share folders; other kinds, shapes or labels do not fit its Program."""
    model = make_folder(reveal)
    model.save(tmp_path / "model")
    again = ModelFolder.load(tmp_path / "model")
    assert again.description == model.description
    manifest, folders = share_model(again, 2, tmp_path / "shares")
    assert load_share(folders[0], 0, ANYBODY).manifest == manifest
    assert manifest.reveal == model.description.reveal
    wrong = [replace(model.description, labels=("a", "b", "c", "d"))]
    if reveal.kind.facts.axes:
        wrong.append(replace(model.description, reveal=reveal))
        wrong.append(replace(model.description, reveal=reveal.of_shape((1,) * reveal.kind.facts.axes)))
    for description in wrong:
        with pytest.raises(ModelFileError, match="reveals"):
            ModelFolder(description, model.program, model.weights)


def test_what_needs_a_likeliest_label_says_so(tmp_path: Path, tiny_pictures: ImageSet) -> None:
    """Evaluation and the reference's labels, of a model that answers something else."""
    model = make_folder(TAGS)
    model.save(tmp_path)
    with pytest.raises(NotRevealed, match="a score with 'tags'"):
        evaluate(tmp_path, tiny_pictures, Executor.REFERENCE)
    with pytest.raises(NotRevealed, match="labels of the reference"):
        reference_answers(tmp_path, tiny_pictures)


def test_manifests_of_older_versions_say_so() -> None:
    """A manifest of format 1, which had no such field, names its format and the way out."""
    document = json.loads(MANIFEST.canonical())
    del document["reveal"]
    with pytest.raises(ModelFileError, match=r"format 1; expected the fields of format 4.*model share"):
        Manifest.parse(json.dumps({**document, "format": 1}).encode())
    with pytest.raises(ModelFileError, match="format 3"):
        Manifest.parse(json.dumps({**document, "format": 3}).encode())


@pytest.fixture(scope="module")
def label_folder(tiny_model: VisionTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model exported to reveal its label."""
    folder = tmp_path_factory.mktemp("models") / "tiny-label"
    exported = export_vit(tiny_model, make_images(TINY, 64), reveal=Disclosure.label())
    ModelFolder(_description(exported.reveal), exported.program, exported.weights).save(folder)
    save_model(tiny_model, folder)
    return folder


def _description(reveal: Disclosure) -> Description:
    mean, std = (0.5,) * 3, (0.25,) * 3
    return Description(name="tiny", version="1", labels=("a", "b", "c"), mean=mean, std=std, reveal=reveal)


def test_folders_and_shares_carry_it(label_folder: Path, tmp_path: Path) -> None:
    """From the exported folder through the share folders to what parties tell clients."""
    model = ModelFolder.load(label_folder)
    assert model.description.reveal == Disclosure.label()
    manifest, folders = share_model(model, 2, tmp_path)
    assert manifest.reveal == load_share(folders[0], 0, ANYBODY).manifest.reveal == Disclosure.label()
    assert (manifest.outputs, manifest.output_type) == (2, POSITIONS)


def test_folders_from_before_reveal_logits(tiny_folder: Path, tmp_path: Path) -> None:
    """A description without the field means logits; a damaged one is a typed error."""
    model = ModelFolder.load(tiny_folder)
    model.save(tmp_path)
    document = json.loads((tmp_path / "model.json").read_text())
    del document["reveal"]
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert ModelFolder.load(tmp_path).description == model.description
    for wrong in ({"kind": "label", "top": 5}, {"kind": "all", "top": 0}, "label"):
        (tmp_path / "model.json").write_text(json.dumps({**document, "reveal": wrong}))
        with pytest.raises(ModelFileError):
            ModelFolder.load(tmp_path)


def test_a_description_must_fit_its_program(tiny_folder: Path, label_folder: Path) -> None:
    """A Program of logits described as labels, and the other way round, is refused."""
    logits, label = ModelFolder.load(tiny_folder), ModelFolder.load(label_folder)
    for model, reveal in (
        (logits, Disclosure.label()),
        (logits, Disclosure.topk(3)),
        (label, LOGITS),
        (label, Disclosure.topk(2)),
    ):
        with pytest.raises(ModelFileError, match="reveals"):
            ModelFolder(replace(model.description, reveal=reveal), model.program, model.weights)


@pytest.mark.parametrize("top", [4, 100])
def test_more_labels_than_classes_are_refused(tiny_model: VisionTransformer, top: int) -> None:
    """Export says how many there are."""
    with pytest.raises(InputError, match="3 classes"):
        export_vit(tiny_model, make_images(TINY, 8), reveal=Disclosure.topk(top))


def test_one_class_has_no_likeliest() -> None:
    """A model of one class cannot reveal a label, which would be no answer."""
    config = replace(TINY, classes=1)
    with pytest.raises(InputError, match="at least two classes"):
        export_vit(make_model(config), make_images(config, 8), reveal=Disclosure.label())


def test_evaluation_on_labels(label_folder: Path, tiny_folder: Path, tiny_pictures: ImageSet) -> None:
    """Agreement is scored on labels; there is no logit difference where there are no logits."""
    result = evaluate(label_folder, tiny_pictures, Executor.REFERENCE)
    assert result.agreement_with_float == result.agreement_with_reference == 1.0
    assert result.max_abs_logit_diff is None
    assert evaluate(label_folder, tiny_pictures, Executor.FLOAT).max_abs_logit_diff == 0.0
    assert reference_answers(label_folder, tiny_pictures).logits is None
    with pytest.raises(NotRevealed):
        reference_logits(label_folder, tiny_pictures)
    assert reference_logits(tiny_folder, tiny_pictures).shape == (12, 3)


@pytest.mark.parametrize(("count", "groups"), [(2, 1), (10, 1), (10, 3), (11, 5), (1000, 250)])
def test_groups_meet_completely(count: int, groups: int) -> None:
    """All candidates are in one group each, all pairs of a group meet once, and every member may take every place."""
    grouping = Grouping(count, groups)
    sizes = [len(part) for part in np.array_split(np.arange(count), groups)]
    left, right = grouping.pairs
    assert len(left) == grouping.pair_count == sum(size * (size - 1) // 2 for size in sizes)
    assert (left < right).all()
    assert len({*zip(left.tolist(), right.tolist(), strict=True)}) == grouping.pair_count
    assert grouping.largest == max(sizes)
    for top in (1, 2, count):
        candidates, places, outputs = grouping.places(top)
        assert len(candidates) == sum(size * min(size, top) for size in sizes)
        assert sorted(set(outputs.tolist())) == list(range(grouping.kept(top)))
        first_place = outputs[places == 0].tolist()
        assert first_place == sorted(first_place)


@pytest.mark.parametrize("count", [2, 3, 10, 33, 100, 1000, 21841])
@pytest.mark.parametrize("top", [1, 2, 5])
def test_tournaments_end(count: int, top: int) -> None:
    """Every level but the last loses candidates, none with a place; few labels are compared all at once."""
    levels = tournament(count, min(top, count))
    left = count
    for groups in levels[:-1]:
        following = Grouping(left, groups).kept(top)
        assert top < following < left
        left = following
    assert levels[-1] == 1
    assert len(levels) == 1 or count > 64
