"""A server that the system gives no threads ends, instead of going on without answering."""

from __future__ import annotations

import subprocess
import sys

import pytest

from parties.common.server_threads import EXIT_CODE, ServerThreads

_NO_THREADS = """
import threading
from parties.common.server_threads import ServerThreads

threads = ServerThreads(4)
assert threads.submit(lambda: 3).result() == 3

def refuse(self):
    raise RuntimeError("can't start new thread")

hold = threading.Event()
threads.submit(hold.wait)
threading.Thread.start = refuse
threads.submit(print, "never")
"""


def test_the_process_ends() -> None:
    """With a code of its own, and a line in the log."""
    ended = subprocess.run([sys.executable, "-c", _NO_THREADS], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == EXIT_CODE
    assert "no thread for a call" in ended.stderr


def test_a_pool_that_is_shut_down_refuses() -> None:
    """As any pool does."""
    threads = ServerThreads(1)
    threads.shutdown()
    with pytest.raises(RuntimeError):
        threads.submit(print)
