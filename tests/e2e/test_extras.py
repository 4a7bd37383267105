"""Every extra, installed alone in a fresh environment, brings what it is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
#: By extra, a program that needs it.
_PROGRAMS = {
    "party": """
import numpy as np
from mpcvit.engines.crypten import simulate as crypten
from mpcvit.engines.masked import simulate as masked
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import make_plan
from mpcvit.ops import Relu, TensorType
from mpcvit.program.program import Node, Program
from mpcvit.ring.qtype import QType
import parties.dealer.service, parties.local.cluster, parties.party.party

kind = TensorType((3,), QType(frac=0, lo=-9.0, hi=9.0))
program = Program({"x": kind}, {}, (Node("y", Relu(), ("x",), kind),), "y")
inputs = {"x": np.array([-9, 0, 9])}
assert crypten.run(program, {}, inputs, bytes(32)).output.tolist() == [0, 0, 9]
assert masked.run(make_plan(program, DEFAULT_OBJECTIVE), {}, inputs, bytes(32)).output.tolist() == [0, 0, 9]
""",
    "train": """
import importlib, pkgutil
import mpcvit
for room in ("models", "train", "data", "export", "compress", "quantize", "search", "pricing", "measure", "reports"):
    for found in pkgutil.walk_packages(importlib.import_module(f"mpcvit.{room}").__path__, f"mpcvit.{room}."):
        importlib.import_module(found.name)
from mpcvit.cli.main import app
from typer.testing import CliRunner
for command in (["cost"], ["cost", "--engine", "stock"]):
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
""",
    "medical": """
import sys
import nibabel, numpy as np
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.inputs.read import read_input
import mpcvit.client, pydicom

content = nibabel.Nifti1Image(np.zeros((8, 6, 2), np.uint8), np.eye(4)).to_bytes()
assert read_input(content, InputSpec(kind=InputKind.VOLUME, shape=(2, 6, 8))).pixels.shape == (2, 6, 8)
assert "torch" not in sys.modules
""",
    "ray": "import ray, mpcvit.client",
    "docs": "import furo, myst_parser, sphinx",
}


def _run(*command: str | Path, cwd: Path) -> None:
    """Run a command, which must succeed."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extra", _PROGRAMS)
def test_an_extra_alone_is_enough(extra: str, tmp_path: Path) -> None:
    """The package with the extra is installed, and does what the extra is for."""
    _run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = _ROOT / "deploy" / "constraints.txt"
    _run(python, "-m", "pip", "install", "-q", "-c", constraints, f"{_ROOT}[{extra}]", cwd=tmp_path)
    _run(python, "-c", _PROGRAMS[extra], cwd=tmp_path)
