"""An end to calls whose other side stalls, so that none of them holds a thread for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import grpc


@contextmanager
def deadline(context: grpc.ServicerContext, seconds: float) -> Iterator[None]:
    """Cancel the RPC of ``context`` if the body takes longer; an iterator over its requests then raises."""
    timer = threading.Timer(seconds, context.cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Stall:
    """A context manager that ends what does not move, however long it takes in all.

    Args:
        end: called, once, from another thread.
        seconds: without :meth:`moved`, after which it is called.

    Attributes:
        stalled: whether it was.
    """

    def __init__(self, end: Callable[[], object], seconds: float) -> None:
        self._end, self._seconds = end, seconds
        self._moved = time.monotonic()
        self._over = threading.Event()
        self.stalled = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="stall", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()

    def moved(self) -> None:
        """Note that there is progress."""
        self._moved = time.monotonic()

    def _watch(self) -> None:
        while not self._over.wait(max(0.01, self._moved + self._seconds - time.monotonic())):
            if time.monotonic() >= self._moved + self._seconds:
                self.stalled = True
                self._end()
                return
