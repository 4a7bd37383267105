"""``mpcvit audit``: check audit logs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_grid, print_json, print_notices
from parties.common.audit_chain import ReadLog, read_log
from parties.common.audit_correlation import Correlator

audit_app = typer.Typer(help="Check audit logs.", no_args_is_help=True)


@audit_app.callback()
def _audit() -> None:
    """Check audit logs."""


@audit_app.command("verify")
@command
def verify(
    files: Annotated[list[Path], typer.Argument(help="Audit logs (audit.jsonl in a role's state folder).")],
    json_output: Json = False,
) -> None:
    """Find lines that were changed, deleted, moved or cut off, and compare the logs of several roles.

    Exit code 1 if there is any problem. Logs of running roles: copy party 0's first, then the other parties', then the
    dealer's, and give the copies.
    """
    logs = [read_log(path) for path in files]
    together = Correlator(logs).compare()
    problems = [problem for log in logs for problem in log.problems] + together.problems
    if json_output:
        print_json(
            {
                "ok": not problems,
                "logs": [_summary(log) for log in logs],
                "sessions": together.sessions,
                "material": together.material,
                "problems": [asdict(problem) for problem in problems],
                "notices": [asdict(notice) for notice in together.notices],
            }
        )
    else:
        print_notices(f"{notice.file}: line {notice.line}: {notice.what}" for notice in together.notices)
        headings = ["log", "role", "lines", "from", "to", "chain"]
        print_grid("audit logs", headings, [_row(log) for log in logs], _compared(together.sessions, together.material))
        if problems:
            rows = [[problem.file, str(problem.line), problem.what] for problem in problems]
            print_grid("problems", ["log", "line", "what"], rows)
    if problems:
        raise typer.Exit(1)


def _summary(log: ReadLog) -> dict[str, object]:
    ends = (log.lines[0].time, log.lines[-1].time) if log.lines else ("", "")
    return {
        "file": log.path,
        "role": log.role,
        "log_id": log.log_id,
        "lines": len(log.lines),
        "first": ends[0],
        "last": ends[1],
        "ok": not log.problems,
    }


def _row(log: ReadLog) -> list[str]:
    summary = _summary(log)
    texts = [str(summary[name]) for name in ("file", "role", "lines", "first", "last")]
    return [*texts, "good" if summary["ok"] else "broken"]


def _compared(sessions: int, material: int) -> str:
    return f"compared: {sessions} sessions, {material} pieces of material"
