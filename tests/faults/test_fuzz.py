"""Parsers of what others send: damaged seeds here, coverage-guided fuzzing by atheris in the long run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, try_one
from tests.support.reliability import Case

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 60


@st.composite
def damaged(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with bytes changed, cut out or put in; or anything."""
    raw = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(raw)))
        raw[start : start + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return draw(st.one_of(st.just(bytes(raw)), st.binary(max_size=64)))


@pytest.mark.case(41, "damaged bytes for a parser", "an error of ours, or a value; no crash")
@pytest.mark.parametrize("name", list(TARGETS))
def test_41_damaged_seeds(case: Case, name: str) -> None:
    tried = 0

    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(raw=damaged(TARGETS[name].seeds))
    def try_all(raw: bytes) -> None:
        nonlocal tried
        tried += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged files
            try_one(TARGETS[name], raw)

    try_all()
    case.saw(f"{tried} inputs")


@pytest.mark.long
@pytest.mark.case(41, "coverage-guided fuzzing of a parser", "no crash, hang or allocation above 64 MiB")
@pytest.mark.parametrize("name", list(TARGETS))
def test_41_atheris(case: Case, name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: the extra 'fuzz'")
    command = [sys.executable, "-m", "tests.fuzz", name, f"-max_total_time={_SECONDS}", f"-artifact_prefix={tmp_path}/"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20 * _SECONDS)
    counts = re.findall(r"Done (\d+) runs in (\d+) second", run.stderr)
    case.saw(f"{counts[0][0]} inputs in {counts[0][1]} s" if counts else run.stderr[-300:])
    assert run.returncode == 0, run.stderr[-2000:]
    assert counts
