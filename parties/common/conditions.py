"""What every service needs to do work: each function returns a condition of readiness."""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from mpcvit.wire.own_certificate import expires
from parties.common.readiness import Condition

#: Free space below which nobody relies on a disk.
_FREE_BYTES = 16 << 20
_PROBE_BYTES = 4096


def disk(folder: Path) -> Condition:
    """Need a state folder that can be written to."""

    def why() -> str | None:
        try:
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(bytes(_PROBE_BYTES))
                probe.flush()
            space = os.statvfs(folder)
        except OSError as error:
            return f"the state folder cannot be written to: {error.strerror}"
        free = space.f_bavail * space.f_frsize
        return f"less than {_FREE_BYTES >> 20} MiB free in the state folder" if free < _FREE_BYTES else None

    return why


def memory(needed: int, idle: Callable[[], bool]) -> Condition:
    """Need memory for one session, of ``needed`` bytes. Not looked at while sessions run, as these take it."""

    def why() -> str | None:
        missing = idle() and available_memory() < needed
        return f"less than the {needed >> 20} MiB free that a session needs" if missing else None

    return why


def certificate(path: Path) -> Condition:
    """Need an own certificate that is valid; others refuse one that is not."""

    def why() -> str | None:
        end = expires(path)
        return f"expired at {end:%Y-%m-%d %H:%M} UTC" if end < datetime.datetime.now(datetime.UTC) else None

    return why


def available_memory() -> int:
    """Return the bytes that this process can still get: the machine's, or what its control group leaves."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) << 10
    group = Path("/sys/fs/cgroup")  # of a container: its own
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - used)
