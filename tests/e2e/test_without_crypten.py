"""Where crypten is not installed, everything works that computes on no shares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mpcvit.data.image_set import ImageSet

_ROOT = Path(__file__).resolve().parents[2]
#: What the ``party`` extra brings and the ``train`` extra does not.
_ABSENT = ("crypten", "grpc_health")
#: Runs one command after another in one process, as each would take seconds to import; recipes are cut to a few steps.
_SCRIPT = """
import json
import sys
from dataclasses import replace

from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.train.recipes import RECIPES

teacher = RECIPES["cifar10_teacher_small"]
RECIPES["cifar10_teacher_small"] = lambda: replace(teacher(), validation=4, batch_size=8)
for command in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, command)
    print(json.dumps({"code": result.exit_code, "output": result.stdout or result.stderr}))
"""

#: Prints the modules that cannot be imported.
_IMPORTS = """
from importlib import import_module
from pkgutil import walk_packages

import mpcvit
import parties

for package in (mpcvit, parties):
    for found in walk_packages(package.__path__, f"{package.__name__}."):
        if found.name.endswith("__main__"):
            continue
        try:
            import_module(found.name)
        except ModuleNotFoundError as error:
            assert error.name in ("crypten", "grpc_health"), error
            print(found.name)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return environment variables with which Python finds none of what is absent."""
    for name in _ABSENT:
        (tmp_path / "absent" / f"{name}.py").parent.mkdir(exist_ok=True)
        error = f'ModuleNotFoundError("No module named {name}", name="{name}")'
        (tmp_path / "absent" / f"{name}.py").write_text(f"raise {error}\n")
    return {**os.environ, "PYTHONPATH": f"{tmp_path / 'absent'}:{_ROOT}", "HOME": str(tmp_path / "home")}


def _run(commands: list[list[str]], environment: dict[str, str]) -> list[dict[str, Any]]:
    """Return the JSON object that each command prints; all must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps([[*command, "--json"] for command in commands])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["code"] for result in results] == [0] * len(commands), results
    return [json.loads(result["output"]) for result in results]


def _write(pictures: ImageSet, folder: Path, side: int, classes: int) -> None:
    """Write ``pictures``, enlarged, under ``classes`` labels."""
    for number, pixels in enumerate(pictures.images):
        target = folder / "abcdefghij"[number % classes] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.resize(pixels, (side, side, 3))).save(target)


def test_everything_but_parties_is_imported(environment: dict[str, str]) -> None:
    """Only what computes on shares misses crypten: the executors, what simulates them, and the parties."""
    done = subprocess.run([sys.executable, "-c", _IMPORTS], env=environment, capture_output=True, text=True, check=True)
    missing = set(done.stdout.split())
    assert {"mpcvit.engines.crypten.context", "mpcvit.engines.masked.executor"} <= missing
    product = {name for name in missing if name.startswith("mpcvit.")}
    assert {name.rpartition(".")[2] for name in product} == {"context", "executor", "simulate"}


@pytest.mark.slow
def test_from_a_model_to_prices_and_answers_in_clear(
    tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path, environment: dict[str, str]
) -> None:
    """A model is compressed, quantized, exported, priced for both engines and scored by the reference."""
    for part in ("train", "test"):
        _write(tiny_pictures, tmp_path / "data" / part, side=8, classes=3)
    data, small, out = str(tmp_path / "data"), str(tmp_path / "small"), str(tmp_path / "out")
    (change, quantized, exported, score, fast, stock) = _run(
        [
            ["compress", str(tiny_folder), "mixed_rank", "reduction=0.1", "step=1", "--data", data, "--out", small],
            ["quantize", small, "--data", data, "--out", str(tmp_path / "int8"), "--name", "x", "--method", "minmax"],
            ["model", "export", small, "--data", data, "--out", out, "--name", "x"],
            ["eval", "--model", str(tiny_folder), "--data", f"{data}/test", "--executor", "reference"],
            ["cost"],
            ["cost", "--engine", "stock", "--parties", "3"],
        ],
        environment,
    )
    assert change["after"]["parameters"] < change["before"]["parameters"]
    assert quantized["cost"]["after"]["material_bytes"] < quantized["cost"]["before"]["material_bytes"]
    assert exported["fidelity"] < 1e-6
    assert score["n"] == 12
    assert 0 < fast["rounds"] < stock["rounds"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_training_and_search(tiny_pictures: ImageSet, tmp_path: Path, environment: dict[str, str]) -> None:
    """A recipe trains, and the smallest search ends with its set of candidates."""
    _write(tiny_pictures, tmp_path / "data" / "train", side=32, classes=10)
    run, search = str(tmp_path / "run"), str(tmp_path / "search")
    trained, found = _run(
        [
            ["train", "cifar10_teacher_small", "--data", str(tmp_path / "data"), "--out", run, "--epochs", "1"],
            ["search", "--preset", "smoke", "--out", search, "--trials", "1", "--epochs", "1", "--device", "cpu"],
        ],
        environment,
    )
    assert trained["epochs"] == 1
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert found["pareto"]


def test_a_party_names_the_extra_that_it_lacks(tmp_path: Path, environment: dict[str, str]) -> None:
    """Serving ends with the extra to install, before anything is opened."""
    done = subprocess.run(
        [sys.executable, "-m", "mpcvit.cli", "party", "serve", "--config", str(tmp_path / "missing.yaml")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "party" in " ".join(done.stderr.split())
