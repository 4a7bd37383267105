"""Files that a running process reads again when they change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from mpcvit.errors import MpcvitError

log = logging.getLogger("mpcvit.watched")

Content = TypeVar("Content")


class Watched(Generic[Content]):
    """What some files say. Looked at when asked for, so nothing runs in the background.

    A new file that cannot be used changes nothing but the log: the process goes on with what it read before, and tries
    again later. So files that belong together may be replaced one after the other.

    Args:
        paths: the files.
        read: returns what they say; raises :class:`MpcvitError` if that cannot be used.
        every_s: seconds between two looks at the files.
        clock: seconds, for tests.

    Raises:
        MpcvitError: the files cannot be used at the start.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[], Content],
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths, self._read, self._every_s, self._clock = tuple(paths), read, every_s, clock
        self._looking = threading.Lock()
        self._stamps = self._look()
        self._value = read()
        self._next = clock() + every_s

    def value(self) -> Content:
        """Return what the files say; the same object for as long as they do not change."""
        if self._clock() >= self._next:
            with self._looking:  # who comes meanwhile waits: what the files said before may be of no use any more
                due = self._next
                if self._clock() >= due:
                    self._refresh()
                    if self._next == due:  # nobody asked for another look meanwhile
                        self._next = self._clock() + self._every_s
        return self._value

    def look_again(self) -> None:
        """Look at the files when :meth:`value` is called next, however soon that is."""
        self._next = self._clock()

    def _refresh(self) -> None:
        stamps = self._look()
        if stamps == self._stamps:
            return
        names = ", ".join(str(path) for path in self._paths)
        try:
            self._value = self._read()
        except MpcvitError as error:
            log.warning("the new content of %s cannot be used; the old stays in force: %s", names, error)
            return
        self._stamps = stamps
        log.info("%s changed; the new content is in force", names)

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when somebody writes or replaces the file; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
