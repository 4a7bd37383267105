"""The table of docs/reliability.md: what was done to a deployment, what should follow, and what did.

Tests leave one record each; ``python -m tests.support.reliability`` writes the page's table from them.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
RECORDS = _ROOT / "build/faults"
PAGE = _ROOT / "docs/reliability.md"
_BEGIN, _END = "<!-- cases: begin -->", "<!-- cases: end -->"
#: Names of records that this process has left.
_WRITTEN: set[str] = set()
#: Seconds beyond a promised bound that a test still passes with on a busy machine; the table says ``late``.
PATIENCE_S = 4.0


@dataclass
class Case:
    """One injected fault.

    Attributes:
        number: of the list of faults; or a letter and a number for what is not in it.
        inject: what is done.
        expected: what should follow.
        seen: what did, in the test's words.
        seconds: how long the test took.
        verdict: ``pass``, ``late``, ``FAIL`` or ``not run``.
    """

    number: str
    inject: str
    expected: str
    seen: list[str] = field(default_factory=list)
    seconds: float = 0.0
    verdict: str = "not run"
    late: bool = False

    def saw(self, what: object) -> None:
        """Note what happened."""
        self.seen.append(str(what))

    def within(self, seconds: float, bound: float) -> None:
        """Require that something took at most ``bound`` seconds, give or take what a busy machine adds."""
        self.late = self.late or seconds > bound
        assert seconds <= bound + PATIENCE_S, f"{seconds:.1f} s; promised are {bound:g} s"

    def write(self, name: str) -> None:
        """Leave the record of test ``name``, in the place of one of an earlier run; two of one run are an error."""
        RECORDS.mkdir(parents=True, exist_ok=True)
        assert name not in _WRITTEN, f"two tests leave the record {name}"
        _WRITTEN.add(name)
        (RECORDS / f"{name}.json").write_text(json.dumps({**asdict(self), "revision": _revision()}, indent=1))


@cache
def _revision() -> str:
    """Return what the working tree is, as git says it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _order(case: dict[str, str]) -> tuple[int, str, str]:
    number = case["number"]
    return (int(number) if number.isdigit() else 1000, number, case["inject"])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def table(cases: list[dict[str, Any]]) -> str:
    """Return the Markdown table of records."""
    lines = ["| # | injected | expected | seen | seconds | |", "|---|---|---|---|---|---|"]
    for case in sorted(cases, key=_order):
        cells = [
            case["number"],
            case["inject"],
            case["expected"],
            "; ".join(case["seen"]),
            f"{case['seconds']:.0f}",
            case["verdict"],
        ]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines)


def revisions(cases: list[dict[str, Any]]) -> str:
    """Return of which revision the records are: most of them, and which are of others."""
    rows: dict[str, list[str]] = {}
    for case in cases:
        rows.setdefault(case["revision"], []).append(case["number"])
    (most, _), *others = sorted(rows.items(), key=lambda item: -len(item[1]))
    return "; ".join(
        [most, *(f"rows of {', '.join(sorted(set(numbers)))}: {revision}" for revision, numbers in others)]
    )


def refresh() -> None:
    """Write the table into the page, with when and on what it was made."""
    cases = [json.loads(path.read_text()) for path in RECORDS.glob("*.json")]
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    newest = max((path.stat().st_mtime for path in RECORDS.glob("*.json")), default=time.time())
    when, machine = datetime.fromtimestamp(newest, UTC), f"{os.cpu_count()} cores, {platform.machine()}"
    made = f"{when:%Y-%m-%d %H:%M} UTC, {revisions(cases)}; {machine}"
    PAGE.write_text(f"{before}{_BEGIN}\n\nLast run: {made}.\n\n{table(cases)}\n\n{_END}{after}")


if __name__ == "__main__":
    refresh()
