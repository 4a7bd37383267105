"""What a role did: a file to which lines are only added, each with the digest of the line before."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from mpcvit import __version__
from mpcvit.errors import ConfigError
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.v1 import session_pb2

log = logging.getLogger("mpcvit.audit")

FILE_NAME = "audit.jsonl"
#: Of the line before the first.
NO_DIGEST = "0" * 64
_ID_BYTES = 16
#: Seconds until a line is on disk, and between two lines that say the same of a caller, or of another role's log.
_SYNC_S = 1.0
_FOLD_S = 60.0
#: Refusals that are told apart at a time, and letters of a value.
_MOST_REFUSALS = 256
_LONGEST = 200
#: Longer than any line.
_BLOCK = 1 << 16


class AuditEvent(StrEnum):
    """What is recorded; beside the fields here, every line has ``sequence``, ``time``, ``event`` and ``previous``."""

    CREATED = "created"  # the first line: role, log_id
    STARTED = "started"  # version
    STOPPED = "stopped"
    SESSION_OPENED = "session_opened"  # its id is burned and it runs: session, client, model, model_version
    SESSION_ENDED = "session_ended"  # session, outcome: done, or the reason of its failure
    MATERIAL_USED = "material_used"  # burned: material, session
    LEASE_OPENED = "lease_opened"  # at the dealer: material, party
    LEASE_ENDED = "lease_ended"  # at the dealer: material, outcome: done or unused
    REFUSED = "refused"  # a call: caller, address, call, reason, count
    MODEL_LOADED = "model_loaded"  # model, model_version, manifest_sha256
    CERTIFICATE_LOADED = "certificate_loaded"  # expires
    CLIENTS_LOADED = "clients_loaded"  # who may use what
    WITNESSED = "witnessed"  # how far another role's log is: of, log_id, line, sha256


@dataclass
class _Folded:
    """Refusals of one kind since the last line about them."""

    address: str
    written: float
    count: int = 0


@dataclass
class _Seen:
    """How far another role's log is: log id, line, digest; as it is, and as it was written down, which was when."""

    at: float
    head: tuple[str, int, str] = ("", 0, "")
    written: tuple[str, int, str] = ("", 0, "")


class AuditLog:
    """The audit log of one role, in ``audit.jsonl`` of its state folder.

    A line is with the system before :meth:`record` returns, so it survives the process; it is on disk within a second.
    A line that cannot be written stops nothing: it is counted, and the next one says how many are missing.

    Args:
        folder: the state folder, of this process alone; made if missing.
        role: e.g. ``party0``.

    Raises:
        ConfigError: the file cannot be written, is another role's, or does not end in a line of an audit log.
    """

    def __init__(self, folder: Path, role: str) -> None:
        self._lock = threading.Lock()
        self._path = folder / FILE_NAME
        self._sequence, self._previous, self._lost, self._half = 0, NO_DIGEST, 0, 0
        self._log_id, self._head = b"", session_pb2.AuditHead()
        self._refusals: dict[tuple[str, str, str], _Folded] = {}
        self._seen: dict[str, _Seen] = {}
        self._dirty, self._closed = threading.Event(), False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._begin(role)
        except OSError as error:
            raise ConfigError(
                f"{self._path}: {error.strerror}",
                expected="a writable folder that survives restarts",
                remedy="Correct 'state' in the configuration, or free disk space.",
            ) from error
        half = {"discarded_bytes": self._half} if self._half else {}
        self.record(AuditEvent.STARTED, version=__version__, **half)
        threading.Thread(target=self._sync, name="audit", daemon=True).start()

    @property
    def head(self) -> session_pb2.AuditHead:
        """How far the log is, for others to witness: its last line that is not itself about another log."""
        with self._lock:
            return self._head

    def record(self, event: AuditEvent, **fields: str | int) -> None:
        """Add a line. Values are ids, names, reasons and counts; long ones are cut."""
        with self._lock:
            self._add(event, fields)

    def model_loaded(self, manifest: Manifest) -> None:
        """Add a line about a model that is served from now on."""
        about = {"model": manifest.name, "model_version": manifest.version, "manifest_sha256": manifest.digest.hex()}
        self.record(AuditEvent.MODEL_LOADED, **about)

    def refused(self, caller: str, address: str, call: str, reason: str) -> None:
        """Add a line about a call that was refused; more of the same within a minute are counted in the next line."""
        now, key = time.monotonic(), (caller, call, reason)
        with self._lock:
            if len(self._refusals) >= _MOST_REFUSALS and key not in self._refusals:
                self._write_refusals()
            folded = self._refusals.setdefault(key, _Folded(address, now - _FOLD_S))
            folded.count += 1
            folded.address = address
            if now - folded.written >= _FOLD_S:
                self._write_refusal(key, folded)
                folded.written = now

    def witness(self, role: str, head: session_pb2.AuditHead) -> None:
        """Take note of how far the log of ``role`` is: at most one line a minute, and what is newest in the end."""
        if not head.log_id:  # an earlier version says nothing
            return
        now = time.monotonic()
        with self._lock:
            seen = self._seen.setdefault(role, _Seen(now - _FOLD_S))
            seen.head = (head.log_id.hex(), head.line, head.sha256.hex())
            if now - seen.at >= _FOLD_S and seen.head != seen.written:
                self._write_head(role, seen)
                seen.at = now

    def close(self) -> None:
        """Add what is still to be said and the last line, sync, and close the file."""
        with self._lock:
            if self._closed:
                return
            self._write_refusals()
            for role, seen in self._seen.items():
                if seen.head != seen.written:
                    self._write_head(role, seen)
            self._add(AuditEvent.STOPPED, {})
            self._closed = True
            self._dirty.set()
            os.fsync(self._file)
            os.close(self._file)

    def _begin(self, role: str) -> None:
        """Continue the log that is there, or begin one.

        Raises:
            ConfigError: it is another role's, or damaged.
        """
        if not (end := _whole_lines(self._file)):
            os.ftruncate(self._file, 0)
            self._add(AuditEvent.CREATED, {"role": role, "log_id": secrets.token_hex(_ID_BYTES)})
            if self._lost:
                raise self._refuse("whose first line cannot be written")
            return
        first, last = _lines_at_ends(self._file, end)
        try:
            made, newest = json.loads(first), json.loads(last)
            self._log_id, owner = bytes.fromhex(made["log_id"]), made["role"]
            self._sequence = newest["sequence"] + 1
        except (ValueError, KeyError, TypeError) as error:
            raise self._refuse("whose first or last line is none of an audit log") from error
        if owner != role:
            raise self._refuse(f"which is the log of {owner}")
        self._previous = hashlib.sha256(last).hexdigest()
        self._half = os.fstat(self._file).st_size - end
        os.ftruncate(self._file, end)

    def _add(self, event: AuditEvent, fields: Mapping[str, str | int]) -> None:
        """Append a line; the lock is held."""
        lost = {"lost_lines": self._lost} if self._lost else {}
        cut = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in fields.items()}
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        document = {"sequence": self._sequence, "time": moment, "event": str(event), **cut, **lost}
        line = json.dumps({**document, "previous": self._previous}, separators=(",", ":")).encode()
        if self._closed or not self._append(line + b"\n"):
            self._lost += 1
            return
        digest = hashlib.sha256(line)
        self._sequence, self._previous, self._lost = self._sequence + 1, digest.hexdigest(), 0
        if event is AuditEvent.CREATED:
            self._log_id = bytes.fromhex(str(fields["log_id"]))
        if event is not AuditEvent.WITNESSED:
            self._head = session_pb2.AuditHead(log_id=self._log_id, line=self._sequence, sha256=digest.digest())
        self._dirty.set()

    def _append(self, line: bytes) -> bool:
        """Write a whole line, or nothing; return whether it was written."""
        end = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) == len(line):
                return True
            os.ftruncate(self._file, end)
        except OSError as error:
            log.warning("a line of the audit log is lost: %s", error.strerror)
            with suppress(OSError):
                os.ftruncate(self._file, end)
        return False

    def _write_refusals(self) -> None:
        for key, folded in self._refusals.items():
            if folded.count:
                self._write_refusal(key, folded)
        self._refusals.clear()

    def _write_refusal(self, key: tuple[str, str, str], folded: _Folded) -> None:
        caller, call, reason = key
        who = {"caller": caller, "address": folded.address, "call": call}
        self._add(AuditEvent.REFUSED, {**who, "reason": reason, "count": folded.count})
        folded.count = 0

    def _write_head(self, role: str, seen: _Seen) -> None:
        log_id, line, digest = seen.head
        self._add(AuditEvent.WITNESSED, {"of": role, "log_id": log_id, "line": line, "sha256": digest})
        seen.written = seen.head

    def _sync(self) -> None:
        """Bring lines to disk, soon after they were written."""
        while True:
            self._dirty.wait()
            time.sleep(_SYNC_S)
            with self._lock:
                if self._closed:
                    return
                self._dirty.clear()
                file = os.dup(self._file)
            try:
                os.fsync(file)
            except OSError as error:
                log.warning("the audit log is not on disk: %s", error.strerror)
            finally:
                os.close(file)

    def _refuse(self, got: str) -> ConfigError:
        return ConfigError(
            f"{self._path}, {got}",
            expected="the audit log of this role, or none",
            remedy="Correct 'state' in the configuration; or move the file away and keep it, and a new log begins.",
        )


def _whole_lines(file: int) -> int:
    """Return where the last whole line ends. What follows is half a line that a crash or a full disk left."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - _BLOCK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _lines_at_ends(file: int, end: int) -> tuple[bytes, bytes]:
    """Return the first line and the last one of a file whose last whole line ends at ``end``, without their ends."""
    first = os.pread(file, _BLOCK, 0).split(b"\n", 1)[0]
    last = os.pread(file, min(_BLOCK, end), max(0, end - _BLOCK)).rstrip(b"\n").rsplit(b"\n", 1)[-1]
    return first, last
