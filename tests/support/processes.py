"""Processes that a test started, its grandchildren included, and nobody else's."""

from __future__ import annotations

from pathlib import Path

#: Set in the environment of what a test starts; whatever that starts inherits it.
MARK = "MPCVIT_STARTED_BY"


def alive(mark: str) -> set[str]:
    """Return the command lines of all running processes that were started with ``MARK=mark`` in their environment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended, or is another user's
            continue
        if f"{MARK}={mark}".encode() in environment:
            found.add(line)
    return found
