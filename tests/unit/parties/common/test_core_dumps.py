"""No picture of a service's memory reaches the disk."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import ctypes, json, os, subprocess
from pathlib import Path
from parties.common.core_dumps import forbid_core_dumps

forbid_core_dumps()
get_dumpable = 3
print(json.dumps({
    "limits": Path("/proc/self/limits").read_text(),
    "child": subprocess.run(["cat", "/proc/self/limits"], capture_output=True, text=True).stdout,
    "dumpable": ctypes.CDLL(None).prctl(get_dumpable, 0, 0, 0, 0),
}))
"""


def test_a_process_and_its_children_write_no_core_files() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    for limits in (found["limits"], found["child"]):
        (line,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"]
    assert found["dumpable"] == 0
