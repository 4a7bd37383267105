"""The scripts in examples/ run as their pages say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mpcvit.cli.main import app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _run(name: str, *arguments: str | Path) -> list[str]:
    """Lines that an example prints."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.splitlines()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with three pictures of noise, one of them large, and a file that is none."""
    rng = np.random.default_rng(3)
    for name, size in (("a.png", 8), ("b.png", 8), ("c.png", 20)):
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_the_sdk_classifies_a_picture(pictures: Path, tiny_folder: Path) -> None:
    """sdk.py names the likeliest label and the three best."""
    first, *best = _run("sdk.py", pictures / "c.png", "--model", tiny_folder)
    assert first.startswith("c.png is a ")
    assert sorted(line.split()[0] for line in best) == ["a", "b", "c"]
    assert sum(float(line.split()[1]) for line in best) == pytest.approx(1, abs=1e-3)


def test_a_batch_goes_on_past_what_is_no_picture(pictures: Path, tiny_folder: Path) -> None:
    """batch.py prints one line per file, in order, with a label for every picture."""
    head, *rows = _run("batch.py", pictures, "--model", tiny_folder)
    assert head == "file,label,remark"
    assert [row.split(",")[0] for row in rows] == ["a.png", "b.png", "c.png", "notes.txt"]
    assert all(row.split(",")[1] in {"a", "b", "c"} for row in rows[:3])
    assert rows[3].split(",")[1] == ""


def test_a_model_of_ones_own_is_proven_and_answers() -> None:
    """own_model.py exports with proven ranges and asks for four pictures."""
    exported, *answers = _run("own_model.py", "--epochs", "2")
    assert "proven" in exported
    assert len(answers) == 4
    assert all(line.startswith("shows ") for line in answers)


def test_a_search_ends_with_a_pareto_set(tmp_path: Path) -> None:
    """search.py tries mixtures and prints the best of them."""
    lines = _run("search.py", tmp_path / "search", "--epochs", "1", "--trials", "1")
    assert any(line.startswith("tried ") for line in lines)
    at = next(number for number, line in enumerate(lines) if "Pareto" in line)
    assert len(lines) > at + 1


def test_a_module_answers_in_three_commands(tmp_path: Path) -> None:
    """own_module.py trains; what its page says next exports with proven ranges, and answers on shares."""
    trained = _run("own_module.py", "--epochs", "2", "--out", tmp_path)
    assert trained[0].startswith("trained on 640 pictures")
    files = {
        "--weights": tmp_path / "model.safetensors",
        "--data": tmp_path / "pictures",
        "--out": tmp_path / "exported",
    }
    options = [text for option in files.items() for text in map(str, option)]
    runner = CliRunner()
    export = ["model", "export", "--module", f"{EXAMPLES}/own_module.py:build", *options, "--name", "shapes", "--json"]
    result = runner.invoke(app, export)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ranges"]["calibrated"] == 0
    picture = str(tmp_path / "pictures" / "disc" / "0.png")
    result = runner.invoke(app, ["demo", "--model", str(tmp_path / "exported"), "--image", picture, "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["max_abs_logit_diff"] < 0.02
