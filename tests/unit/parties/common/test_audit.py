"""The audit log: what is written, and what is noticed when it is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mpcvit.errors import ConfigError, InputError
from parties.common.audit import FILE_NAME, AuditEvent, AuditLog
from parties.common.audit_chain import read_log
from parties.common.audit_correlation import Correlator, LogCorrelation


def _lines(folder: Path) -> list[bytes]:
    return (folder / FILE_NAME).read_bytes().splitlines(keepends=True)


def _documents(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in _lines(folder)]


def _problems(folder: Path) -> list[tuple[int, str]]:
    return [(problem.line, problem.what) for problem in read_log(folder / FILE_NAME).problems]


@pytest.fixture
def log_of_ten(tmp_path: Path) -> Path:
    """The folder of a log with ten lines."""
    log = AuditLog(tmp_path, "party0")
    for number in range(7):
        log.record(AuditEvent.SESSION_OPENED, session=f"{number:032x}", client="alice.client")
    log.close()
    assert len(_lines(tmp_path)) == 10
    return tmp_path


def test_a_log_says_whose_it_is_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """One chain over all starts; every line has a time."""
    for _ in range(2):
        log = AuditLog(tmp_path, "party0")
        log.record(AuditEvent.SESSION_ENDED, session="ab", outcome="done")
        log.close()
        log.close()  # without effect
    documents = _documents(tmp_path)
    events = [document["event"] for document in documents]
    assert events == ["created", "started", "session_ended", "stopped", "started", "session_ended", "stopped"]
    assert documents[0]["role"] == "party0"
    assert len(str(documents[0]["log_id"])) == 32
    assert documents[2]["session"] == "ab"
    assert [document["sequence"] for document in documents] == list(range(7))
    assert all(str(document["time"]).endswith("Z") for document in documents)
    assert _problems(tmp_path) == []


def test_lines_survive_a_kill_and_half_a_line_is_dropped(tmp_path: Path) -> None:
    """What was recorded is in the file at once. What a crash cut off is not part of the log, and is mentioned."""
    AuditLog(tmp_path, "party0").record(AuditEvent.SESSION_OPENED, session="ab")  # never closed
    assert _documents(tmp_path)[-1]["session"] == "ab"
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b'{"sequence":3,"ti')
    assert _problems(tmp_path) == [(4, "is cut off")]
    AuditLog(tmp_path, "party0").close()
    assert _documents(tmp_path)[3]["discarded_bytes"] == 17
    assert _problems(tmp_path) == []


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    """Sessions end side by side."""
    log = AuditLog(tmp_path, "party0")

    def write(writer: int) -> None:
        for number in range(200):
            log.record(AuditEvent.SESSION_ENDED, session=f"{writer}/{number}", outcome="done")

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join(30)
    log.close()
    assert len(_lines(tmp_path)) == 803
    assert _problems(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(b"alice", b"mally"), *lines[4:]], {4: "was changed"}),
        (lambda lines: [*lines[:3], *lines[4:]], {4: "missing before it: 1"}),
        (lambda lines: [*lines[:3], *lines[6:]], {4: "missing before it: 3"}),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], {5: "is out of order: it was written as line 4"}),
        (lambda lines: [*lines[:4], lines[2], *lines[4:]], {5: "repeats line 3"}),
        (lambda lines: lines[2:], {1: "missing before it: 2"}),
        (lambda lines: [*lines[:3], b"no line\n", *lines[4:]], {4: "cannot be read", 5: "missing before it: 1"}),
        (lambda lines: [*lines[:9], lines[9][:20]], {10: "is cut off"}),
        (lambda lines: [], {1: "is not the first line"}),
    ],
    ids=["edited", "deleted", "several deleted", "swapped", "repeated", "no beginning", "garbage", "cut", "empty"],
)
def test_what_was_done_to_a_log_is_named(
    log_of_ten: Path, change: Callable[[list[bytes]], list[bytes]], found: dict[int, str]
) -> None:
    """By the number of the line in the file as it is."""
    changed = change(_lines(log_of_ten))
    (log_of_ten / FILE_NAME).write_bytes(b"".join(changed))
    problems = dict(_problems(log_of_ten))
    assert set(found) <= set(problems), problems
    for line, what in found.items():
        assert what in problems[line]


def test_a_sequence_number_of_any_size_is_read(log_of_ten: Path) -> None:
    """A log comes from somebody else: it takes no time and memory that it names itself."""
    lines = _lines(log_of_ten)
    lines[4] = lines[4].replace(b'"sequence":4', b'"sequence":9999999999999999')
    (log_of_ten / FILE_NAME).write_bytes(b"".join(lines))
    problems = dict(_problems(log_of_ten))
    assert "missing before it" in problems[5]
    assert "is out of order" in problems[6]


def test_files_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    """Not findings."""
    with pytest.raises(InputError, match="No such file"):
        read_log(tmp_path / "none")


def test_another_role_s_log_is_not_continued(tmp_path: Path) -> None:
    """Nor is something else."""
    AuditLog(tmp_path, "party0").close()
    with pytest.raises(ConfigError, match="the log of party0"):
        AuditLog(tmp_path, "party1")
    (tmp_path / FILE_NAME).write_text("something else\n")
    with pytest.raises(ConfigError, match="none of an audit log"):
        AuditLog(tmp_path, "party0")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        AuditLog(tmp_path / "file", "party0")


def test_refusals_of_one_kind_are_counted(tmp_path: Path) -> None:
    """Who knocks a thousand times fills no disk; others are still told apart."""
    log = AuditLog(tmp_path, "party0")
    for _ in range(1000):
        log.refused("mallory.client", "10.0.0.9", "OpenSession", "NOT_ALLOWED")
    log.refused("mallory.client", "10.0.0.9", "OpenSession", "OVERLOADED")
    for number in range(1000):
        log.refused(f"{number}.client", "10.0.0.9", "SubmitShare", "NOT_ALLOWED")
    log.close()
    refused = [document for document in _documents(tmp_path) if document["event"] == "refused"]
    mallory = [document for document in refused if document["caller"] == "mallory.client"]
    assert [(document["reason"], document["count"]) for document in mallory] == [
        ("NOT_ALLOWED", 1),
        ("OVERLOADED", 1),
        ("NOT_ALLOWED", 999),
    ]
    assert len(refused) == 1003
    assert _problems(tmp_path) == []


def test_long_values_are_cut(tmp_path: Path) -> None:
    """Names come from outside."""
    log = AuditLog(tmp_path, "party0")
    log.record(AuditEvent.REFUSED, caller="x" * 100_000)
    assert len(_lines(tmp_path)[-1]) < 500


_FULL = """
import json, resource, signal, sys
from pathlib import Path
from parties.common.audit import FILE_NAME, AuditEvent, AuditLog
folder = Path(sys.argv[1])
log = AuditLog(folder, "party0")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, most))
for number in range(40):
    log.record(AuditEvent.SESSION_OPENED, session=str(number))
written = (folder / FILE_NAME).read_bytes()
assert written.endswith(b"\\n") and len(written) <= 3000
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
log.record(AuditEvent.SESSION_OPENED, session="after")
last = json.loads((folder / FILE_NAME).read_bytes().splitlines()[-1])
assert last["session"] == "after"
print(last["lost_lines"], last["sequence"])
log.close()
"""


def test_a_full_disk_loses_lines_and_says_so(tmp_path: Path) -> None:
    """No half-written line, no error for whoever records, and the number of lines that are not there."""
    command = [sys.executable, "-c", _FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lost, sequence = map(int, done.stdout.split()[-2:])
    assert lost > 0
    assert lost + sequence == 42  # created, started, 40 sessions
    assert _problems(tmp_path) == []


# Several roles


def _logs(folder: Path) -> dict[str, AuditLog]:
    return {role: AuditLog(folder / role, role) for role in ("party0", "party1", "dealer")}


def _session(logs: dict[str, AuditLog], session: str, material: str, outcomes: tuple[str, str]) -> None:
    logs["dealer"].record(AuditEvent.LEASE_OPENED, material=material)
    logs["dealer"].record(AuditEvent.LEASE_ENDED, material=material, outcome="done")
    for party, outcome in zip(("party0", "party1"), outcomes, strict=True):
        logs[party].record(AuditEvent.SESSION_OPENED, session=session, client="alice.client", model="tiny")
        logs[party].record(AuditEvent.MATERIAL_USED, material=material, session=session)
        if outcome:
            logs[party].record(AuditEvent.SESSION_ENDED, session=session, outcome=outcome)


def _compare(folder: Path, *roles: str) -> LogCorrelation:
    logs = [read_log(folder / role / FILE_NAME) for role in roles or ("party0", "party1", "dealer")]
    assert [problem for log in logs for problem in log.problems] == []
    return Correlator(logs).compare()


def test_logs_of_honest_roles_agree(tmp_path: Path) -> None:
    """Crashes and failures are no problem; where one side says done and the other does not, that is said."""
    logs = _logs(tmp_path)
    _session(logs, "s1", "m1", ("done", "done"))
    _session(logs, "s2", "m2", ("PEER_LOST", "PEER_ABORTED"))
    _session(logs, "s3", "m3", ("done", ""))
    _session(logs, "s4", "m4", ("done", "PEER_LOST"))
    logs["dealer"].record(AuditEvent.LEASE_OPENED, material="never used")
    for log in logs.values():
        log.close()
    found = _compare(tmp_path)
    assert found.problems == []
    assert (found.sessions, found.material) == (4, 4)
    assert [notice.what for notice in found.notices] == [
        "session s3 is done here, and has no end at party1",
        "session s4 is done here, and PEER_LOST at party1",
    ]


def test_lies_are_found(tmp_path: Path) -> None:
    """A session that only one party knows, material that was used twice, for two sessions, or never dealt."""
    logs = _logs(tmp_path)
    _session(logs, "s1", "m1", ("done", "done"))
    logs["party0"].record(AuditEvent.SESSION_OPENED, session="s2")
    logs["party0"].record(AuditEvent.SESSION_ENDED, session="s2", outcome="done")
    logs["party1"].record(AuditEvent.MATERIAL_USED, material="m1", session="s1")
    logs["party0"].record(AuditEvent.MATERIAL_USED, material="m2", session="s3")
    logs["party1"].record(AuditEvent.MATERIAL_USED, material="m2", session="s4")
    logs["dealer"].record(AuditEvent.LEASE_OPENED, material="m1")
    logs["party0"].record(AuditEvent.SESSION_OPENED, session="s1")
    for log in logs.values():
        log.close()
    problems = [problem.what for problem in _compare(tmp_path).problems]
    for what in (
        "session s2 is done here, and unknown to party1",
        "session s1 is opened again",
        "material m1 is used again",
        "material m1 is dealt again",
        "material m2 is used here, and unknown to the dealer",
        "material m2 is used for session s3 here, and for s4 at party1",
    ):
        assert any(problem.startswith(what) for problem in problems), (what, problems)
    assert len(problems) == 7  # m2 is unknown for either party


def _cut(folder: Path, lines: int) -> None:
    kept = _lines(folder)[:-lines]
    (folder / FILE_NAME).write_bytes(b"".join(kept))


def test_a_log_whose_end_is_missing_is_noticed_by_the_others(tmp_path: Path) -> None:
    """In the log itself nothing shows; others have seen how long it was."""
    logs = _logs(tmp_path)
    _session(logs, "s1", "m1", ("done", "done"))
    logs["party0"].witness("party1", logs["party1"].head)
    seen = logs["party1"].head.line
    for log in logs.values():
        log.close()
    assert _compare(tmp_path).problems == []
    _cut(tmp_path / "party1", 2)
    (problem,) = _compare(tmp_path).problems
    assert (problem.file, problem.line) == (str(tmp_path / "party1" / FILE_NAME), seen)
    assert problem.what.startswith("is missing, and what followed it: party0 has seen it (line ")
    log = AuditLog(tmp_path / "party1", "party1")  # it goes on from there, in a chain without a flaw
    log.record(AuditEvent.SESSION_ENDED, session="s1", outcome="done")
    log.close()
    assert any("is not what party0 has seen" in problem.what for problem in _compare(tmp_path).problems)


def test_a_log_that_was_begun_anew_is_noticed(tmp_path: Path) -> None:
    """Its id is another one. Both files together are whole."""
    logs = _logs(tmp_path)
    logs["party0"].witness("party1", logs["party1"].head)
    for log in logs.values():
        log.close()
    (tmp_path / "party1").rename(tmp_path / "earlier")
    AuditLog(tmp_path / "party1", "party1").close()
    (problem,) = _compare(tmp_path).problems
    assert problem.what.startswith("party1 had another log then")
    assert _compare(tmp_path, "party0", "earlier", "party1").problems == []


def test_logs_do_not_chase_each_other(tmp_path: Path) -> None:
    """A line about another log is no news for that log's role; and there is one a minute."""
    logs = _logs(tmp_path)
    first = logs["party0"].head
    logs["party0"].witness("party1", logs["party1"].head)
    assert logs["party0"].head == first
    for number in range(100):
        logs["party1"].record(AuditEvent.SESSION_OPENED, session=str(number))
        logs["party0"].witness("party1", logs["party1"].head)
    newest = logs["party1"].head
    logs["party0"].witness("party1", type(newest)())  # an earlier version says nothing
    logs["party0"].close()
    witnessed = [document for document in _documents(tmp_path / "party0") if document["event"] == "witnessed"]
    assert [document["line"] for document in witnessed] == [2, newest.line]
    assert witnessed[1]["sha256"] == newest.sha256.hex()


def test_lines_are_on_disk_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second or so, without anybody waiting for it."""
    synced, sync = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (sync(file), synced.set()))
    log = AuditLog(tmp_path, "party0")
    start = time.monotonic()
    log.record(AuditEvent.SESSION_OPENED, session="ab")
    assert time.monotonic() - start < 1
    assert synced.wait(30)
