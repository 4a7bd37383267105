"""The soak, for a minute and with many faults; an hour of it is a measurement: ``benchmarks/soak.py``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.reliability import Case

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.case(
    40, "a minute of requests with a fault in every tenth", "no wrong answer, every error typed, recovery in 10 s"
)
def test_40_short_soak(tiny_folder: Path, tmp_path: Path, case: Case) -> None:
    out = tmp_path / "soak.json"
    command = [sys.executable, "benchmarks/soak.py", str(out), "--model", str(tiny_folder)]
    for minutes in ("0.5", "1"):  # the second run goes on where the first ended
        with subprocess.Popen(
            [*command, "--rate", "0.1", "--pause", "0.1", "--minutes", minutes],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as run:
            try:
                _, said = run.communicate(timeout=400)
            finally:  # its roles are in its group
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)
        assert run.returncode == 0, said[-2000:]
    document = json.loads(out.read_text())
    summary = document["summary"]
    case.saw(f"{document['outcomes']}, faults {summary['faults']}, slowest recovery {summary['slowest_recovery_s']} s")
    assert summary["minutes"] >= 1
    assert summary["requests"] > 20
    assert sum(summary["faults"].values())
    assert (summary["wrong"], summary["untyped"], summary["failed_recoveries"]) == (0, 0, 0)
    case.within(summary["slowest_recovery_s"], 10)
    assert out.with_suffix(".png").stat().st_size > 10_000
