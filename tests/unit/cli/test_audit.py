"""``mpcvit audit verify``: good logs pass, others are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mpcvit.cli.main import app
from parties.common.audit import FILE_NAME, AuditEvent, AuditLog


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Logs of two parties with one session."""
    for role in ("party0", "party1"):
        log = AuditLog(tmp_path / role, role)
        log.record(AuditEvent.SESSION_OPENED, session="ab", client="alice.client")
        log.record(AuditEvent.SESSION_ENDED, session="ab", outcome="done")
        log.close()
    return [str(tmp_path / role / FILE_NAME) for role in ("party0", "party1")]


def test_good_logs(files: list[str]) -> None:
    """As an object and as a table."""
    done = CliRunner().invoke(app, ["audit", "verify", *files, "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["ok"], document["sessions"]) == (0, True, 1)
    assert [(log["role"], log["lines"], log["ok"]) for log in document["logs"]] == [
        ("party0", 5, True),
        ("party1", 5, True),
    ]
    table = CliRunner().invoke(app, ["audit", "verify", *files])
    assert table.exit_code == 0
    assert "good" in table.stdout
    assert "compared: 1 sessions" in table.stdout


def test_changed_logs(files: list[str]) -> None:
    """The line is named, and the exit code is 1."""
    path = Path(files[0])
    path.write_bytes(path.read_bytes().replace(b"alice", b"mally"))
    done = CliRunner().invoke(app, ["audit", "verify", *files, "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["ok"]) == (1, False)
    (problem,) = document["problems"]
    assert (problem["file"], problem["line"]) == (files[0], 3)
    assert problem["what"].startswith("was changed")
    table = CliRunner().invoke(app, ["audit", "verify", *files])
    assert table.exit_code == 1
    assert "broken" in table.stdout
    assert "was changed" in " ".join(table.stdout.split())


def test_a_file_that_is_not_there(files: list[str]) -> None:
    """An error of its own, exit code 4."""
    done = CliRunner().invoke(app, ["audit", "verify", files[0] + ".gone", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["error"]["reason"]) == (4, "INVALID_INPUT")
