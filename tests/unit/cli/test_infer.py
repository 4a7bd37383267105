"""``mpcvit infer`` with parties that answer in clear."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.client import Client, MockTransport, Submission
from mpcvit.errors import Overloaded
from mpcvit.inputs import InputKind, InputSpec
from tests.support.stand_in import MANIFEST, PIXELS, first_values


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration with which ``mpcvit infer`` asks parties that answer in clear."""
    parties = MockTransport.parties(MANIFEST, first_values)
    monkeypatch.setattr(Client, "from_config", lambda path: Client(parties))
    return "client.yaml"


def test_infer_says_how_it_read_the_picture(config: str, tmp_path: Path) -> None:
    """Notices are a list in the object, and lines on standard error for people; names with brackets are printed."""
    path = tmp_path / "x[bold].gif"
    Image.fromarray(PIXELS).save(path, save_all=True, append_images=[Image.new("RGB", (8, 8))])
    run = CliRunner().invoke(app, ["infer", str(path), "-c", config, "--json"])
    assert run.exit_code == 0, run.output
    assert "2 frames" in json.loads(run.stdout)["notices"][0]
    table = CliRunner().invoke(app, ["infer", str(path), "-c", config])
    assert table.exit_code == 0, table.output
    assert "x[bold].gif: " in table.stdout
    assert "note" in table.stderr
    assert "2 frames" not in table.stdout


def test_infer_makes_pictures_fit_if_asked_to(config: str, tmp_path: Path) -> None:
    """Otherwise the error is an object that names both sizes and the option."""
    path = tmp_path / "large.png"
    Image.fromarray(PIXELS).resize((40, 24)).save(path)
    arguments = ["infer", str(path), "-c", config, "--json"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 4
    error = json.loads(refused.stdout)["error"]
    assert error["reason"] == "SHAPE_MISMATCH"
    assert "40 x 24" in error["got"]
    assert "8 x 8" in error["expected"]
    assert "--fit model" in error["remedy"]
    fitted = CliRunner().invoke(app, [*arguments, "--fit", "model"])
    assert fitted.exit_code == 0, fitted.output
    assert json.loads(CliRunner().invoke(app, [*arguments, "--fit", "no"]).stdout)["error"]["got"] == "fit 'no'"


def test_infer_refuses_damaged_files_with_an_object(config: str, tmp_path: Path) -> None:
    """Whatever a decoder raises: exit code 4, and the file's name."""
    path = tmp_path / "damaged.ppm"
    path.write_bytes(b"P6\n8\x7f 8\n255\n")
    run = CliRunner().invoke(app, ["infer", str(path), "-c", config, "--json"])
    assert run.exit_code == 4
    error = json.loads(run.stdout)["error"]
    assert (error["reason"], "damaged.ppm" in error["got"]) == ("INVALID_INPUT", True)


def _folder(tmp_path: Path) -> Path:
    """Three pictures, one damaged, with what a desktop leaves beside them."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for name, shift in (("b.png", 0), ("a.png", 40), ("more/c.png", 80)):
        Image.fromarray((PIXELS.astype(int) + shift).clip(0, 255).astype("uint8")).save(folder / name)
    (folder / "d[x].png").write_bytes(b"no picture")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_a_folder_gives_a_line_per_picture_in_order(config: str, tmp_path: Path) -> None:
    """Standard output is lines of JSON alone; a failure is a line with its reason, and the exit code tells."""
    folder = _folder(tmp_path)
    run = CliRunner().invoke(app, ["infer", str(folder), "-c", config, "--json-lines", "--concurrency", "2"])
    assert run.exit_code == 1, run.output
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [Path(line["image"]).name for line in lines] == ["a.png", "b.png", "d[x].png", "c.png"]
    assert [line.get("error", {}).get("reason") for line in lines] == [None, None, "INVALID_INPUT", None]
    alone = CliRunner().invoke(app, ["infer", str(folder / "b.png"), "-c", config, "--json"])
    assert json.loads(alone.stdout)["label"] == lines[1]["label"]
    (folder / "d[x].png").unlink()
    assert CliRunner().invoke(app, ["infer", str(folder), "-c", config, "--json-lines"]).exit_code == 0


def test_a_folder_gives_an_object_or_a_table(config: str, tmp_path: Path) -> None:
    """With --json and without; a single file may be asked for as a line; both forms at once are refused."""
    folder = _folder(tmp_path)
    run = CliRunner().invoke(app, ["infer", str(folder), "-c", config, "--json"])
    document = json.loads(run.stdout)
    assert (run.exit_code, document["failed"], len(document["pictures"])) == (1, 1, 4)
    table = CliRunner().invoke(app, ["infer", str(folder), "-c", config])
    assert table.exit_code == 1
    assert "d[x].png" in table.stdout
    assert "INVALID_INPUT" in table.stdout
    assert "d[x].png: got" in table.stderr
    single = CliRunner().invoke(app, ["infer", str(folder / "a.png"), "-c", config, "--json-lines"])
    assert len(single.stdout.splitlines()) == 1
    assert CliRunner().invoke(app, ["infer", str(folder), "-c", config, "--json", "--json-lines"]).exit_code == 4
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(app, ["infer", str(tmp_path / "empty"), "-c", config]).exit_code == 4


def test_retries_are_of_use_where_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A party that is full at first: an error without --retries, an answer with them."""

    class Full(MockTransport):
        def submit(self, submission: Submission, deadline: float) -> None:
            if self._index == 0 and submission.spec.session_id not in refused:
                refused.append(submission.spec.session_id)
                if len(refused) == 1:
                    raise Overloaded("a full queue", expected="room", remedy="Wait.", retry_after_s=0.01)
            super().submit(submission, deadline)

    refused: list[bytes] = []
    monkeypatch.setattr(Client, "from_config", lambda path: Client(Full.parties(MANIFEST, first_values)))
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    arguments = ["infer", str(tmp_path / "a.png"), "-c", "client.yaml", "--json"]
    error = json.loads(CliRunner().invoke(app, arguments).stdout)["error"]
    assert (error["reason"], error["retry_after_s"]) == ("OVERLOADED", 0.01)
    refused.clear()
    run = CliRunner().invoke(app, [*arguments, "--retries", "2"])
    assert run.exit_code == 0, run.output
    assert len(refused) == 2


def test_a_folder_is_one_input_if_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slices of a volume, say; without the option every file is one, and has an error."""
    manifest = replace(
        MANIFEST, input=InputSpec(kind=InputKind.VOLUME, shape=(2, 4, 6), bits=16), mean=(0.5,), std=(0.5,)
    )
    parties = MockTransport.parties(manifest, first_values)
    monkeypatch.setattr(Client, "from_config", lambda path: Client(parties))
    folder = tmp_path / "volume"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(np.full((4, 6), 1000 * number, np.uint16)).save(folder / f"{number}.png")
    arguments = ["infer", str(folder), "-c", "client.yaml"]
    run = CliRunner().invoke(app, [*arguments, "--together", "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["image"] == str(folder)
    lines = CliRunner().invoke(app, [*arguments, "--together", "--json-lines"])
    assert [json.loads(line)["image"] for line in lines.stdout.splitlines()] == [str(folder)]
    alone = CliRunner().invoke(app, [*arguments, "--json"])
    assert alone.exit_code == 1
    assert [line["error"]["reason"] for line in json.loads(alone.stdout)["pictures"]] == ["SHAPE_MISMATCH"] * 2
