"""Threads of a gRPC server, in a process that would rather end than be deaf."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

log = logging.getLogger("mpcvit.server")
#: As ``os.EX_OSERR``: the system gives no more threads.
EXIT_CODE = 71
#: Seconds after which a thread that was asked for will not come.
_PATIENCE_S = 5.0
_PAUSE_S = 0.5


class ServerThreads(ThreadPoolExecutor):
    """A pool that ends the process if the system gives it no thread.

    gRPC's loop of a server ends for good if a call cannot be handed to a thread, and CPython waits for ever for a
    thread that had no memory to begin. The process would go on, and answer nobody, even with memory to spare again.
    Ledger and audit log are whole after every line, and whoever watches over the process starts it anew.

    Args:
        most: threads.
        patience_s: seconds that handing over a call may take.
    """

    def __init__(self, most: int, *, patience_s: float = _PATIENCE_S) -> None:
        super().__init__(most, thread_name_prefix="grpc")
        self._patience_s, self._asked = patience_s, math.inf
        threading.Thread(target=self._watch, name="watch-threads", daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As in :class:`ThreadPoolExecutor`; a server's loop calls it from one thread."""
        self._asked = time.monotonic()
        try:
            return super().submit(fn, *args, **kwargs)
        except (RuntimeError, MemoryError):
            if not self._shutdown:
                _end()
            raise
        finally:
            self._asked = math.inf

    def _watch(self) -> None:
        looks, asked = 0, math.inf
        while not self._shutdown:  # looks are counted: a process that was stopped for long has not looked meanwhile
            looks, asked = (looks + 1 if self._asked == asked else 0), self._asked
            if looks * _PAUSE_S >= self._patience_s and asked != math.inf:
                _end()
            time.sleep(_PAUSE_S)


def _end() -> NoReturn:
    try:
        log.critical("no thread for a call: out of memory or threads; the process ends")
    finally:  # there may be no memory for the line
        os._exit(EXIT_CODE)
