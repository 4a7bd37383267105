"""Emulated networks: the profiles, what happens where they cannot run, and a real one."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpcvit.errors import ConfigError, InputError
from mpcvit.link_profile import LAN, LOOPBACK, WAN, link_profile
from mpcvit.measure.network import EmulatedNetwork, namespaces
from mpcvit.measure.network.check import measure

_ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")


@pytest.fixture
def emulation() -> None:
    """Skips where this process cannot emulate a network."""
    try:
        namespaces.require_emulation()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture
def capable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that looks as if it could emulate networks."""
    monkeypatch.setattr(namespaces, "_TUN", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


@pytest.mark.parametrize("profile", [LOOPBACK, LAN, WAN])
def test_profiles_are_found_by_name(profile):
    """Every profile has the name under which it is found."""
    assert link_profile(profile.name) is profile


def test_unknown_profile_names_the_known_ones():
    """The error of a wrong name lists the right ones."""
    with pytest.raises(InputError, match="loopback, lan, wan"):
        link_profile("lte")


def test_profile_numbers():
    """WAN is 20 ms one way and 350 Mbit/s, LAN 0.15 ms and 3 Gbit/s, loopback has no limits."""
    assert (WAN.delay_s, WAN.bytes_per_s * 8) == (0.020, 350e6)
    assert (LAN.delay_s, LAN.bytes_per_s * 8) == (0.00015, 3e9)
    assert (LOOPBACK.delay_s, LOOPBACK.bytes_per_s) == (0.0, math.inf)
    assert [profile.emulated for profile in (LOOPBACK, LAN, WAN)] == [False, True, True]


def test_profiles_import_nothing_heavy():
    """The cost model can import profiles without the benchmarks or torch."""
    script = "import sys, mpcvit.link_profile; print('torch' in sys.modules, 'mpcvit.measure' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "False"]


def test_loopback_works_as_any_user(monkeypatch):
    """Without emulation nothing is needed: hosts are the machine and commands stay as they are."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with EmulatedNetwork(LOOPBACK, 3) as network:
        assert [host.address for host in network.hosts] == ["127.0.0.1"] * 3
        assert network.hosts[0].command(["true"]) == ["true"]


@pytest.mark.parametrize("hosts", [0, 17])
def test_number_of_hosts_is_limited(hosts):
    """Zero hosts or more than the switch can hold are refused."""
    with pytest.raises(InputError, match=f"{hosts} hosts"):
        EmulatedNetwork(WAN, hosts)


@pytest.mark.usefixtures("capable")
def test_ordinary_user_is_told_what_to_do(monkeypatch):
    """Who is not root learns that root is needed and that loopback is not."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match=r"user 1000.*expected root.*sudo.*'loopback'"), EmulatedNetwork(WAN, 2):
        pass


@pytest.mark.usefixtures("capable")
def test_machine_without_tun_is_told(monkeypatch, tmp_path):
    """A kernel without TUN devices is named as the reason."""
    monkeypatch.setattr(namespaces, "_TUN", tmp_path / "absent")
    with pytest.raises(ConfigError, match="modprobe tun"), EmulatedNetwork(WAN, 2):
        pass


@pytest.mark.usefixtures("capable")
@pytest.mark.parametrize(("missing", "package"), [(("nsenter",), "util-linux"), (("cc", "gcc", "clang"), "gcc")])
def test_missing_command_is_named_with_its_package(monkeypatch, missing, package):
    """A missing tool is reported together with the package that has it."""
    monkeypatch.setattr(shutil, "which", lambda name: None if name in missing else f"/usr/bin/{name}")
    with pytest.raises(ConfigError, match=f"package {package}"), EmulatedNetwork(WAN, 2):
        pass


@pytest.mark.usefixtures("capable")
def test_compiler_that_fails_is_quoted(monkeypatch, tmp_path):
    """What the compiler says reaches the user."""
    source = tmp_path / "switch.c"
    source.write_text("#error no such luck\n")
    monkeypatch.setattr(namespaces, "_SOURCE", source)
    monkeypatch.setattr(namespaces, "_find", lambda names: sys.executable)  # a "compiler" that cannot
    with pytest.raises(ConfigError, match="a compiler that says"), EmulatedNetwork(WAN, 2):
        pass


@pytest.mark.usefixtures("emulation")
def test_wan_has_its_delay_and_rate():
    """Through real TCP the WAN shows 40 ms of round trip and most of its 350 Mbit/s; the machine's settings stay."""
    before = _ALLOWED.read_text()
    with EmulatedNetwork(WAN, 2) as network:
        link = measure(network.hosts[1], network.hosts[0], transfer_bytes=15_000_000)
    assert 0.040 <= link.round_trip_s < 0.045
    assert 250e6 < link.bytes_per_s * 8 < 350e6
    assert network.bytes_sent[0] > 45_000_000
    assert network.packets_lost == 0
    assert network.hosts == ()
    assert _ALLOWED.read_text() == before


@pytest.mark.usefixtures("emulation")
def test_network_ends_with_a_killed_process():
    """The switch, and with it the namespaces, goes when the process that opened the network is killed."""
    script = (
        "import time; from mpcvit.measure.network import EmulatedNetwork; from mpcvit.link_profile import LAN\n"
        "with EmulatedNetwork(LAN, 2) as network:\n"
        "    print(network.hosts[0].prefix[1], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        namespace = Path(process.stdout.readline().strip().removeprefix("--net="))
        assert namespace.exists()
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 5
    while namespace.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not namespace.exists()
