"""Tests see the processes that they started."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.processes import MARK, alive


def test_children_of_children_are_seen_and_strangers_are_not() -> None:
    """A process that outlives its parent is still its test's; one with another mark is not."""
    sleep = "import time; time.sleep(60)"
    start = f"subprocess.Popen([sys.executable, '-c', {sleep!r}], stdout=subprocess.DEVNULL)"
    spawn = f"import subprocess, sys; print({start}.pid)"
    environment = {**os.environ, MARK: f"mine{os.getpid()}"}
    stranger = subprocess.Popen([sys.executable, "-c", sleep], env={**os.environ, MARK: f"other{os.getpid()}"})
    orphan = int(subprocess.run([sys.executable, "-c", spawn], env=environment, stdout=subprocess.PIPE).stdout)
    try:
        (line,) = alive(f"mine{os.getpid()}")
        assert sleep in line
    finally:
        os.kill(orphan, 9)
        stranger.kill()
        stranger.wait()
