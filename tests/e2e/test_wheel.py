"""The wheel holds what it should, and the light client works where nothing else is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mpcvit

ROOT = Path(__file__).resolve().parents[2]


def _run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """What a command prints; it must end with ``code``."""
    run = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment with the wheel and its own dependencies alone."""
    folder = tmp_path_factory.mktemp("bare")
    _run(sys.executable, "-m", "venv", folder, cwd=folder)
    constraints = ROOT / "deploy" / "constraints.txt"
    _run(folder / "bin/python", "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel, cwd=folder)
    return folder / "bin"


def test_the_wheel_is_complete(wheel: Path) -> None:
    """Its name has the version; inside are all tracked files of both packages and the pages of errors; no more."""
    assert wheel.name.startswith(f"mpcvit-{mpcvit.__version__}-py3-")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = _run("git", "ls-files", "mpcvit", "parties", cwd=ROOT).split()
    assert not set(tracked) - names
    pages = _run("git", "ls-files", "docs/errors", cwd=ROOT).split()
    assert pages
    assert not {page.replace("docs/errors", "mpcvit/cli/errors") for page in pages} - names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"mpcvit", "parties"}


def test_the_light_client_needs_nothing_else(bare: Path, tmp_path: Path) -> None:
    """Without torch the SDK is imported and the command line says its version and explains its commands."""
    assert _run(bare / "mpcvit", "--version", cwd=tmp_path).split()[-1] == mpcvit.__version__
    assert "PICTURE" in _run(bare / "mpcvit", "infer", "--help", cwd=tmp_path).upper()
    assert "Causes" in _run(bare / "mpcvit", "explain", "PEER_LOST", cwd=tmp_path)
    program = "import sys, mpcvit.client; assert 'torch' not in sys.modules; print(mpcvit.client.Client.__name__)"
    assert _run(bare / "python", "-c", program, cwd=tmp_path) == "Client\n"
    _run(bare / "python", "-c", "import torch", cwd=tmp_path, code=1)


def test_a_command_that_needs_more_names_the_extra(bare: Path, tmp_path: Path) -> None:
    """Training on the bare client ends with the extra to install, not with a traceback."""
    error = subprocess.run(
        [str(bare / "mpcvit"), "train", "cifar10_teacher_small", "--data", ".", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert error.returncode != 0
    assert "no module 'torch'" in error.stderr
    assert "pip install '.[" in " ".join(error.stderr.split())
    assert "Traceback" not in error.stderr
