"""Reading an audit log back: is every line there, in order, and as it was written."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpcvit.errors import InputError
from parties.common.audit import NO_DIGEST, AuditEvent

_MARKS = {"sequence": int, "time": str, "event": str, "previous": str}


@dataclass(frozen=True)
class Finding:
    """Something about an audit log.

    Attributes:
        file: the log's path.
        line: from 1; 0 for the file as a whole.
        what: in words.
    """

    file: str
    line: int
    what: str


@dataclass(frozen=True)
class AuditLine:
    """One line. ``digest`` is its SHA-256, ``previous`` what it says of the line before; both in hex."""

    number: int
    sequence: int
    time: str
    event: str
    fields: dict[str, Any]
    previous: str
    digest: str


@dataclass
class ReadLog:
    """An audit log as it was read.

    Attributes:
        role, log_id: from its first line; empty if that is missing.
        lines: those that can be read, in the file's order.
        problems: breaks of the chain.
    """

    path: str
    role: str = ""
    log_id: str = ""
    lines: list[AuditLine] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)

    def found(self, line: int, what: str) -> None:
        """Note a problem."""
        self.problems.append(Finding(self.path, line, what))


def read_log(path: Path) -> ReadLog:
    """Read the audit log at ``path`` and check its chain.

    What is cut off at the end cannot be seen in the log itself: see :mod:`parties.common.audit_correlation`.

    Raises:
        InputError: the file cannot be read.
    """
    log = ReadLog(str(path))
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}", expected="an audit log", remedy="Give the path of an audit.jsonl."
        ) from error
    *whole, half = raw.split(b"\n")
    for number, line in enumerate(whole, start=1):
        if (parsed := _parse(number, line)) is None:
            log.found(number, "cannot be read")
        else:
            log.lines.append(parsed)
    if half:
        log.found(len(whole) + 1, "is cut off")
    if log.lines and log.lines[0].event == AuditEvent.CREATED:
        log.role, log.log_id = (str(log.lines[0].fields.get(name, "")) for name in ("role", "log_id"))
    else:
        log.found(1, "is not the first line of an audit log")
    _check_order(log)
    _check_digests(log)
    log.problems.sort(key=lambda problem: problem.line)
    return log


def _parse(number: int, raw: bytes) -> AuditLine | None:
    try:
        document = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(document, dict) or any(type(document.get(name)) is not kind for name, kind in _MARKS.items()):
        return None
    sequence, time, event, previous = (document.pop(name) for name in _MARKS)
    return AuditLine(number, sequence, time, event, document, previous, hashlib.sha256(raw).hexdigest())


def _check_order(log: ReadLog) -> None:
    """Find lines that are missing, stand in the wrong place, or stand there twice."""
    numbers: dict[int, int] = {}
    there = sorted({line.sequence for line in log.lines})
    newest = -1
    for line in log.lines:
        if line.sequence in numbers:
            log.found(line.number, f"repeats line {numbers[line.sequence]}")
        elif line.sequence < newest:
            log.found(line.number, f"is out of order: it was written as line {line.sequence + 1}")
        kept = bisect_left(there, line.sequence) - bisect_right(there, newest)
        missing = line.sequence - newest - 1 - kept
        if missing > 0:
            log.found(line.number, f"comes after a gap; lines missing before it: {missing}")
        numbers.setdefault(line.sequence, line.number)
        newest = max(newest, line.sequence)


def _check_digests(log: ReadLog) -> None:
    """Find lines that are not what the lines after them say."""
    by_sequence = {line.sequence: line for line in log.lines}
    for line in log.lines:
        before = by_sequence.get(line.sequence - 1)
        if before is not None and before.digest != line.previous:
            log.found(before.number, f"was changed after it was written: line {line.number} has another digest for it")
        elif line.sequence == 0 and line.previous != NO_DIGEST:
            log.found(line.number, "was changed after it was written")
