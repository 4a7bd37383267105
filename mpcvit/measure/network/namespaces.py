"""Hosts of an emulated network: each is a network namespace, and a small program in C carries packets between them.

Linux has ``netem`` for this, but many kernels come without it; this needs TUN devices only. The program, ``switch.c``,
is compiled each time (a fraction of a second): nothing stale or foreign is ever run as root, nothing is left behind.
The namespaces have no names in the file system. They belong to the running switch, which ends as soon as its standard
input does: whatever happens to the process that opened a network, the kernel removes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self

from mpcvit.errors import ConfigError, InputError
from mpcvit.link_profile import LOOPBACK, LinkProfile

MAX_HOSTS = 16
_SOURCE = Path(__file__).with_name("switch.c")
_TUN = Path("/dev/net/tun")
_COMPILERS = ("cc", "gcc", "clang")
_FIRST_ADDRESS = IPv4Address("198.18.0.1")  # RFC 2544: reserved for benchmarks
_MTU = 1500
_CONGESTION_CONTROL = "cubic"  # Linux's default; a namespace would take over whatever the machine uses
#: A connection that was idle keeps its window, as servers on long lines are set up (deploy/compose.yaml does it too).
_TCP = {"tcp_slow_start_after_idle": "0"}
_ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
_AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
_STOP_S = 10.0
_WITHOUT = f"Or use network '{LOOPBACK.name}', which any user can."


@dataclass(frozen=True)
class Host:
    """One host of a network.

    Attributes:
        address: IPv4 address under which the other hosts reach it.
        interface: name of its network device.
        prefix: words to put before a command to run it on this host.
    """

    address: str
    interface: str
    prefix: tuple[str, ...]

    def command(self, command: Sequence[str]) -> list[str]:
        """Return ``command``, to be run on this host; it replaces itself, so the process id is the command's own."""
        return [*self.prefix, *command]


class EmulatedNetwork:
    """A context manager: hosts that reach each other over links of ``profile``, as long as it is open.

    A host is a place to run processes, with its own address and loopback device; files and everything else are shared.
    Networks do not see each other, nor the machine's own network. With a profile that is not emulated, all hosts are
    the machine itself and share one address.

    TCP uses cubic, and keeps its window over pauses. Choosing cubic touches one setting of the machine for some
    milliseconds, which is then put back.

    Args:
        profile: delay and rate.
        hosts: how many, 1 to 16.

    Attributes:
        hosts: from 0; empty unless open.
        realtime: whether the switch runs before all normal processes; without, its delays grow on a busy machine.
        bytes_sent: by each host, as IP packets; known once closed, empty where nothing is emulated.
        packets_lost: by the switch; known once closed.

    Raises:
        ConfigError: on entering: not root, or the machine lacks something; the message says what.
        InputError: too many hosts or too few.
    """

    def __init__(self, profile: LinkProfile, hosts: int) -> None:
        if not 1 <= hosts <= MAX_HOSTS:
            raise InputError(f"{hosts} hosts", expected=f"1 to {MAX_HOSTS}", remedy="Use fewer parties.")
        self.profile = profile
        self.hosts: tuple[Host, ...] = ()
        self.realtime = False
        self.bytes_sent: tuple[int, ...] = ()
        self.packets_lost = 0
        self._count = hosts
        self._switch: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        if not self.profile.emulated:
            self.hosts = (Host("127.0.0.1", "lo", ()),) * self._count
            return self
        require_emulation()
        try:
            self._start()
            _tune(self.hosts)
        except (OSError, subprocess.CalledProcessError) as error:
            self._stop()
            raise _refused(str(error)) from error
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        with tempfile.TemporaryDirectory(prefix="mpcvit-network-") as folder:
            program = Path(folder) / "switch"
            _compile(program)
            rate = self.profile.bytes_per_s
            arguments = [
                str(self._count),
                str(round(self.profile.delay_s * 1e9)),
                "0" if rate == float("inf") else repr(rate),
                str(_FIRST_ADDRESS),
                str(_MTU),
            ]
            self._switch = subprocess.Popen(  # noqa: S603  # our own program
                [program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for this process, which then closes the network
            )
            ready = _line(self._switch).split()
        if not ready:
            _, complaint = self._switch.communicate()
            raise _refused(complaint.strip())
        self.realtime = ready[1] == "1"
        self.hosts = tuple(
            Host(
                str(_FIRST_ADDRESS + index),
                "link0",
                ("nsenter", f"--net=/proc/{self._switch.pid}/fd/{namespace}", "--"),
            )
            for index, namespace in enumerate(ready[2:])
        )

    def _stop(self) -> None:
        self.hosts = ()
        switch, self._switch = self._switch, None
        if switch is None:
            return
        try:
            output, _ = switch.communicate(timeout=_STOP_S)  # closes its standard input
        except subprocess.TimeoutExpired:
            switch.kill()
            output, _ = switch.communicate()
        if counts := [int(count) for count in output.split()]:
            self.packets_lost, *sent = counts
            self.bytes_sent = tuple(sent)


def require_emulation() -> None:
    """Do nothing if this process can emulate networks.

    Raises:
        ConfigError: it cannot; the message says what is missing.
    """
    facts = (
        (_TUN.exists(), f"no {_TUN}", "a Linux kernel with TUN devices", "Load it with 'modprobe tun'."),
        (os.geteuid() == 0, f"user {os.geteuid()}", "root, who may make network namespaces", "Run it with sudo."),
        (_find(("nsenter",)), "no command 'nsenter'", "util-linux", "Install the package util-linux."),
        (_find(_COMPILERS), "no C compiler", f"one of {', '.join(_COMPILERS)}", "Install the package gcc."),
    )
    for good, got, expected, remedy in facts:
        if not good:
            raise ConfigError(f"{got} to emulate a network", expected=expected, remedy=f"{remedy} {_WITHOUT}")


def _refused(complaint: str) -> ConfigError:
    return ConfigError(
        f"'{complaint}' while making a network",
        expected="a process that may make network namespaces and TUN devices and write their settings",
        remedy=f"Run it outside of containers, or in a privileged one. {_WITHOUT}",
    )


def _find(names: Sequence[str]) -> str:
    """Return the path of the first of these commands that there is; empty if none."""
    return next(filter(None, map(shutil.which, names)), "")


def _compile(program: Path) -> None:
    command = [_find(_COMPILERS), "-O2", "-o", str(program), str(_SOURCE)]
    result = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  # our own source
    if result.returncode != 0:
        raise ConfigError(
            f"a compiler that says '{result.stderr.strip()[:300]}'",
            expected="a C compiler with the headers of the C library and of Linux",
            remedy=f"Install the packages gcc, libc6-dev and linux-libc-dev. {_WITHOUT}",
        )


def _line(process: subprocess.Popen[str]) -> str:
    """Return the next line that ``process`` prints; empty if it ended."""
    return process.stdout.readline() if process.stdout else ""


def _tune(hosts: Sequence[Host]) -> None:
    """Give all hosts the settings of long lines."""
    congestion = _CONGESTION_CONTROL in _AVAILABLE.read_text().split()  # otherwise the machine's own
    settings = {**_TCP, **({"tcp_congestion_control": _CONGESTION_CONTROL} if congestion else {})}
    script = "; ".join(f"echo {value} > /proc/sys/net/ipv4/{name}" for name, value in settings.items())
    with _allowed(_CONGESTION_CONTROL) if congestion else nullcontext():
        for host in hosts:
            subprocess.run(host.command(["sh", "-ec", script]), check=True)  # noqa: S603  # fixed text


@contextmanager
def _allowed(algorithm: str) -> Iterator[None]:
    """Let namespaces choose ``algorithm`` in here; afterwards the machine's setting is as before."""
    before = _ALLOWED.read_text().split()
    if algorithm in before:
        yield
        return
    _ALLOWED.write_text(" ".join([*before, algorithm]))
    try:
        yield
    finally:
        _ALLOWED.write_text(" ".join(before))
