"""A command that is told to stop cleans up first."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mpcvit.cli.output import command

_WRITES = """
import sys, time
from pathlib import Path
import signal
if {ignored}:
    signal.signal({number}, signal.SIG_IGN)
from mpcvit.cli.output import command
from mpcvit.store.out_folder import written

@command
def share(out):
    with written(out) as folder:
        (folder / "seed").write_text("secret")
        try:
            print("writing", flush=True)
            time.sleep(60)
        finally:
            print("cleaning", flush=True)
            sys.stdin.readline()

share(Path(sys.argv[1]))
"""


def _start(number: signal.Signals, folder: Path, *, ignored: bool = False) -> subprocess.Popen[str]:
    code = _WRITES.format(number=int(number), ignored=ignored)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert [path.suffix for path in folder.iterdir()] == [".partial"]
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_half_written(number: signal.Signals, tmp_path: Path) -> None:
    """The command ends with the status that shells know; a second signal does not cut the cleaning short."""
    with _start(number, tmp_path) as process:
        assert process.stdout is not None
        process.send_signal(number)
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(number)
        process.communicate("\n", timeout=60)
        assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


def test_nohup_is_heeded(tmp_path: Path) -> None:
    """A command that was started with SIGHUP ignored goes on."""
    with _start(signal.SIGHUP, tmp_path, ignored=True) as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.terminate()
        process.communicate("\n", timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_signals_are_as_they_were_after_a_command() -> None:
    """Its caller's handlers stay; in another thread, which may not set any, it runs without."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    ran = []

    @command
    def body() -> None:
        ran.append(signal.getsignal(signal.SIGTERM))

    body()
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
    assert ran[0] != signal.SIG_DFL
    assert ran[1] == before[0]
