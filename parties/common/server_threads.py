"""Threads of a gRPC server, in a process that would rather end than be deaf."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

log = logging.getLogger("mpcvit.server")
#: As ``os.EX_OSERR``: the system gives no more threads.
EXIT_CODE = 71


class ServerThreads(ThreadPoolExecutor):
    """A pool that ends the process if the system gives it no thread.

    gRPC's loop of a server ends for good if a call cannot be handed to a thread. The process would go on, and answer
    nobody, even with memory to spare again. Ledger and audit log are whole after every line, and whoever watches over
    the process starts it anew.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As in :class:`ThreadPoolExecutor`."""
        try:
            return super().submit(fn, *args, **kwargs)
        except (RuntimeError, MemoryError):
            if not self._shutdown:
                log.critical("no thread for a call: out of memory or threads; the process ends")
                os._exit(EXIT_CODE)
            raise
