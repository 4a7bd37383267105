"""How ``mpcvit infer`` shows answers of every kind, and ``mpcvit model`` makes models that give them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.client import Client, MockTransport
from mpcvit.picture.overlay import palette
from mpcvit.ring.fixed_point import Codes
from mpcvit.store.enrolment import REFERENCE
from mpcvit.store.exported import ModelFolder
from mpcvit.store.trained import save_model
from mpcvit.wire.reveal import Disclosure
from tests.support.answers import MAP, MATCH, SCALAR, SCORES, TAGS, VECTOR, make_float, stand_in
from tests.support.stand_in import PIXELS

ONE = 2**12
COMPUTED = {
    SCORES: np.array([2 * ONE, -ONE, 0]),
    TAGS: np.array([2 * ONE, -ONE, 0]),
    VECTOR: np.array([3 * ONE, 4 * ONE, 0]),
    SCALAR: np.array([ONE // 2]),
    MATCH: np.array([1]),
    MAP: np.eye(3, dtype=np.int64)[[[0, 1, 2, 2], [2, 0, 0, 2]]],
}


def infer(monkeypatch: pytest.MonkeyPatch, reveal: Disclosure, *arguments: str, code: int = 0) -> str:
    """What the command prints on standard output."""
    computed: Codes = COMPUTED[reveal]
    parties = MockTransport.parties(stand_in(reveal), lambda codes: computed)
    monkeypatch.setattr(Client, "from_config", lambda path: Client(parties))
    run = CliRunner().invoke(app, ["infer", *arguments, "-c", "client.yaml"])
    assert run.exit_code == code, run.output
    return run.stdout


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """A file of the stand-in's picture."""
    path = tmp_path / "picture.png"
    Image.fromarray(PIXELS).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("reveal", "words"),
    [
        (SCORES, ["a", "0.8808", "0.2689"]),
        (TAGS, ["a, c", "yes"]),
        (VECTOR, ["a vector of 3 numbers", "5.0000"]),
        (SCALAR, ["0.5000"]),
        (MATCH, ["a match"]),
        (MAP, ["mostly c", "37.5% of the picture"]),
    ],
    ids=lambda value: value.kind if isinstance(value, Disclosure) else "",
)
def test_answers_are_tables(
    monkeypatch: pytest.MonkeyPatch, picture: str, tmp_path: Path, reveal: Disclosure, words: list[str]
) -> None:
    """Of one picture; and a row of a folder."""
    shown = infer(monkeypatch, reveal, picture)
    assert all(word in shown for word in [*words, "the model reveals"])
    assert words[0] in infer(monkeypatch, reveal, str(tmp_path))
    (line,) = json.loads(infer(monkeypatch, reveal, str(tmp_path), "--json"))["pictures"]
    assert str(reveal.kind) in line


def test_a_map_is_saved_over_the_picture(monkeypatch: pytest.MonkeyPatch, picture: str, tmp_path: Path) -> None:
    """Half of each colour; of a picture that was made to fit, the part that was read."""
    out = tmp_path / "mask.png"
    infer(monkeypatch, MAP, picture, "--save", str(out), "--json")
    labels = np.array([[0, 1, 2, 2], [2, 0, 0, 2]]).repeat(4, 0).repeat(2, 1)
    expected = np.rint((PIXELS.astype(float) + palette(3)[labels]) / 2)
    with Image.open(out) as saved:
        assert (np.asarray(saved) == expected).all()
    Image.fromarray(PIXELS).resize((40, 24)).save(picture)
    infer(monkeypatch, MAP, picture, "--save", str(out), "--fit", "model")
    with Image.open(out) as saved:
        assert saved.size == (40, 20)


def test_a_vector_is_saved_as_numbers(monkeypatch: pytest.MonkeyPatch, picture: str, tmp_path: Path) -> None:
    """As 'mpcvit model share --reference' reads it."""
    out = tmp_path / "vector.npy"
    infer(monkeypatch, VECTOR, picture, "--save", str(out))
    assert np.load(out).tolist() == [3.0, 4.0, 0.0]


@pytest.mark.parametrize(
    ("reveal", "name"), [(VECTOR, "x.png"), (MAP, "x.npy"), (SCORES, "x.png"), (MAP, "x.jpg"), (MAP, "no/x.png")]
)
def test_what_cannot_be_saved_is_refused(
    monkeypatch: pytest.MonkeyPatch, picture: str, tmp_path: Path, reveal: Disclosure, name: str
) -> None:
    """Another kind, another suffix, no such folder, many pictures."""
    error = json.loads(infer(monkeypatch, reveal, picture, "--save", str(tmp_path / name), "--json", code=4))["error"]
    assert error["got"].startswith("--save")
    assert not (tmp_path / name).exists()
    infer(monkeypatch, reveal, str(tmp_path), "--save", str(tmp_path / "x.png"), code=4)


def _export(tmp_path: Path, reveal: Disclosure, *arguments: str) -> Path:
    """A float model, exported by the command."""
    trained, data, out = tmp_path / "trained", tmp_path / "data", tmp_path / f"exported-{reveal.kind}"
    save_model(make_float(reveal), trained)
    for number in range(12):
        file = data / "train" / "any" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)
    words = ["model", "export", str(trained), "--data", str(data), "--name", "m", "--out", str(out)]
    run = CliRunner().invoke(app, [*words, "--reveal", str(reveal.kind), *arguments])
    assert run.exit_code == 0, run.output
    return out


def test_a_match_goes_from_export_to_shares(tmp_path: Path) -> None:
    """The reference comes with the shares, and only there; without one there are none."""
    folder = _export(tmp_path, MATCH, "--threshold", "0.6")
    assert ModelFolder.load(folder).description.reveal == MATCH
    assert ModelFolder.load(folder).description.labels == ()
    np.save(tmp_path / "reference.npy", np.arange(6.0))
    share = ["model", "share", str(folder), "--out", str(tmp_path / "shares")]
    missing = CliRunner().invoke(app, [*share, "--json"])
    assert missing.exit_code == 4
    assert "--reference" in json.loads(missing.stdout)["error"]["expected"]
    assert CliRunner().invoke(app, [*share, "--reference", str(tmp_path / "reference.npy")]).exit_code == 0
    assert not ModelFolder.load(folder).weights[REFERENCE].any()
    assert (tmp_path / "shares" / "party1" / "manifest.json").exists()


def test_a_map_is_exported_with_labels_from_a_file(tmp_path: Path) -> None:
    """The folder of pictures has other classes, or none."""
    (tmp_path / "labels.txt").write_text("sky\nwater\nground\n")
    model = ModelFolder.load(_export(tmp_path, MAP, "--labels", str(tmp_path / "labels.txt")))
    assert model.description.reveal == MAP.of_shape((4, 4))
    assert model.description.labels == ("sky", "water", "ground")
