"""The proxy that fault tests put on links does what its conditions say."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.support.tcp_proxy import TO_CALLER, TO_TARGET, ProxiedLink, TcpProxy


@pytest.fixture(scope="module")
def proxy() -> Iterator[TcpProxy]:
    """One proxy for all tests."""
    with TcpProxy() as running:
        yield running


@pytest.fixture
def link(proxy: TcpProxy) -> Iterator[ProxiedLink]:
    """A link to a server that sends everything back."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=_echo_all, args=(listener,), daemon=True).start()
        yield proxy.link(f"127.0.0.1:{listener.getsockname()[1]}")


def _echo_all(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            threading.Thread(target=_echo, args=(listener.accept()[0],), daemon=True).start()


def _echo(own: socket.socket) -> None:
    with own, suppress(OSError):
        while data := own.recv(1 << 16):
            own.sendall(data)


def _connect(link: ProxiedLink) -> socket.socket:
    host, _, port = link.address.partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def _receive(own: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := own.recv(count - len(data))):
        data += piece
    return data


def test_bytes_arrive_in_order_and_are_counted(link: ProxiedLink) -> None:
    sent = bytes(range(256)) * 1000
    with _connect(link) as own:
        threading.Thread(target=own.sendall, args=(sent,)).start()
        assert _receive(own, len(sent)) == sent
        own.shutdown(socket.SHUT_WR)
        assert own.recv(1) == b""
    assert link.passed() == (len(sent), len(sent))


def test_delay_counts_both_ways_and_is_not_multiplied_by_bytes(link: ProxiedLink) -> None:
    link.set(delay_s=0.1)
    with _connect(link) as own:
        start = time.monotonic()
        own.sendall(bytes(100_000))
        _receive(own, 100_000)
        assert 0.2 <= time.monotonic() - start < 2


def test_rate_limits(link: ProxiedLink) -> None:
    link.set(rate=1e6)
    with _connect(link) as own:
        start = time.monotonic()
        own.sendall(bytes(50_000))  # 0.4 s, and the last bytes back
        _receive(own, 50_000)
        assert time.monotonic() - start > 0.4


@pytest.mark.parametrize("direction", [TO_TARGET, TO_CALLER])
def test_what_is_held_arrives_when_the_link_heals(link: ProxiedLink, direction: str) -> None:
    with _connect(link) as own:
        link.hold(direction)
        own.sendall(b"late")
        own.settimeout(0.3)
        with pytest.raises(TimeoutError):
            own.recv(4)
        assert link.passed() == ((0, 0) if direction == TO_TARGET else (4, 0))
        own.settimeout(10)
        link.heal()
        assert _receive(own, 4) == b"late"


def test_a_reset_ends_connections_and_spares_new_ones(link: ProxiedLink) -> None:
    with _connect(link) as own, _connect(link) as other:
        own.sendall(b"x")
        _receive(own, 1)
        link.reset()
        with pytest.raises(ConnectionResetError):
            own.recv(1)
        other.close()
    with _connect(link) as own:
        own.sendall(b"y")
        assert _receive(own, 1) == b"y"


def test_a_cut_comes_after_so_many_bytes(link: ProxiedLink) -> None:
    link.set(cut_after=5)
    with _connect(link) as own:
        own.sendall(b"abcd")
        assert _receive(own, 4) == b"abcd"
        own.sendall(b"efgh")
        with pytest.raises(ConnectionResetError):
            _receive(own, 4)


def test_one_bit_flips(link: ProxiedLink) -> None:
    link.set(flip_at=2)
    with _connect(link) as own:
        own.sendall(b"aaaa")
        assert _receive(own, 4) == b"aa`a"
        own.sendall(b"aaaa")
        assert _receive(own, 4) == b"aaaa"


def test_a_target_that_is_not_there_is_a_reset(proxy: TcpProxy) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    link = proxy.link(f"127.0.0.1:{port}")
    with pytest.raises(ConnectionResetError), _connect(link) as own:  # while connecting, or right after
        own.recv(1)


def test_unknown_conditions_are_refused(link: ProxiedLink) -> None:
    with pytest.raises(TypeError, match="speed"):
        link.set(speed=3)
