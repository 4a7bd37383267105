"""Ports: taken, shared, not ours."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from mpcvit.errors import (
    ConfigError,
)
from mpcvit.wire.tls import OPTIONS
from parties.common.listen import check_free, listen


def _hold(address: str) -> socket.socket:
    holder = socket.socket(socket.AF_INET6 if address.startswith("[") else socket.AF_INET)
    host, _, port = address.rpartition(":")
    holder.bind((host.strip("[]"), int(port)))
    holder.listen()
    return holder


def _has_ipv6() -> bool:
    try:
        _hold("[::1]:0").close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "0.0.0.0"),  # noqa: S104 - that is what is refused
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("[::1]", "[::1]"),
        ("[::1]", "[::]"),
        ("127.0.0.1", "[::]"),
    ],
)
def test_a_taken_port_is_refused(taken: str, wanted: str) -> None:
    """Whichever of the names of this machine, and of the two protocols, the other process listens on."""
    if "[" in taken + wanted and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    with _hold(f"{taken}:0") as holder:
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=f":{port}: Address already in use"):
            check_free(f"{wanted}:{port}")
        server = grpc.server(ThreadPoolExecutor(1), options=OPTIONS)
        with pytest.raises(ConfigError, match=f":{port}"):
            listen(server, f"{wanted}:{port}", None)
    check_free(f"{wanted}:{port}")


def test_two_servers_do_not_share_a_port() -> None:
    """gRPC's own way of listening, which shares ports by default, is switched off."""
    servers = [grpc.server(ThreadPoolExecutor(1), options=OPTIONS) for _ in range(2)]
    port = servers[0].add_insecure_port("127.0.0.1:0")
    with pytest.raises(RuntimeError, match="Failed to bind"):
        servers[1].add_insecure_port(f"127.0.0.1:{port}")


@pytest.mark.parametrize(("address", "why"), [("192.0.2.1:5000", "Cannot assign"), ("nowhere.invalid:5000", "")])
def test_addresses_that_are_not_ours_are_refused(address: str, why: str) -> None:
    """Of other machines, and of none."""
    with pytest.raises(ConfigError, match=f"address {address}: .*{why}"):
        check_free(address)
