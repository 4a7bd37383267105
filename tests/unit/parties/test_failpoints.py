"""Failpoints: silent by default, refused without --dev, and each action does what it says."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpcvit.errors import ConfigError
from parties.common.failpoints import EXIT_CODE, VARIABLE, Failpoint, InjectedFailure, check_failpoints, failpoint

ROOT = Path(__file__).resolve().parents[3]


def test_nothing_happens_by_default() -> None:
    for place in Failpoint:
        failpoint(place)
    check_failpoints(dev=False)


def test_they_need_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "result_ready=exit")
    check_failpoints(dev=True)
    with pytest.raises(ConfigError, match="--dev"):
        check_failpoints(dev=False)


@pytest.mark.parametrize("value", ["nowhere=exit", "result_ready=explode", "result_ready", "result_ready=sleep:x"])
def test_unknown_ones_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match="failpoint"):
        check_failpoints(dev=True)


def test_raise_and_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "session_burned=raise, result_ready=sleep:0.2")
    with pytest.raises(InjectedFailure, match="session_burned"):
        failpoint(Failpoint.SESSION_BURNED)
    start = time.monotonic()
    failpoint(Failpoint.RESULT_READY)
    assert time.monotonic() - start >= 0.2
    failpoint(Failpoint.MATERIAL_BURNED)


def test_exit_ends_the_process_at_once() -> None:
    code = (
        "from parties.common.failpoints import *\ntry:\n failpoint(Failpoint.LEASE_BURNED)\nfinally:\n print('ran on')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={VARIABLE: "lease_burned=exit"}, cwd=ROOT, capture_output=True, check=False
    )
    assert (run.returncode, run.stdout) == (EXIT_CODE, b"")


@pytest.mark.parametrize("role", ["party", "dealer"])
def test_a_role_does_not_start_with_failpoints(role: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mpcvit.cli", role, "serve", "--config", str(tmp_path / "none.yaml")],
        env={VARIABLE: "result_ready=exit"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 4
    assert VARIABLE in run.stderr
