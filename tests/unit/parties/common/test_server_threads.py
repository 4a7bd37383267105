"""A server that the system gives no threads ends, instead of going on without answering."""

from __future__ import annotations

import subprocess
import sys

import pytest

from parties.common.server_threads import EXIT_CODE, ServerThreads

_NO_THREADS = """
import threading
from parties.common.server_threads import ServerThreads

threads = ServerThreads(4, patience_s=0.1)
hold = threading.Event()
assert threads.submit(lambda: 3).result() == 3
threads.submit(hold.wait)

def start(self):
    {failure}

threading.Thread.start = start
threads.submit(print, "never")
"""


@pytest.mark.parametrize("failure", ["raise RuntimeError", "raise MemoryError", "hold.wait()"])
def test_the_process_ends(failure: str) -> None:
    """With a code of its own, and a line in the log, whether the system says no or nothing."""
    script = _NO_THREADS.format(failure=failure)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == EXIT_CODE
    assert "no thread for a call" in ended.stderr


def test_a_pool_that_is_shut_down_refuses() -> None:
    """As any pool does."""
    threads = ServerThreads(1)
    threads.shutdown()
    with pytest.raises(RuntimeError):
        threads.submit(print)
