"""Connections that follow their files, and trust pinned keys alone: over real handshakes."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from mpcvit.errors import NotAuthenticated, PeerLost
from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.peer_certificate import peer_certificate
from mpcvit.wire.role_channel import RoleChannel
from mpcvit.wire.tls import OPTIONS, TlsFiles, caller_role, server_credentials
from mpcvit.wire.tls_probe import probe
from tests.support.authority import Authority, key_of

METHOD = "/test.Service/Method"


class Echo(grpc.GenericRpcHandler):
    """Answers with the caller's key, or its token; a stream goes on until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """One handler for everything."""
        if details.method.endswith("Stream"):
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if "peer_dns" not in context.auth_context():
            return dict(context.invocation_metadata())["authorization"].encode()
        caller_role(context)
        return peer_certificate(context.auth_context()["x509_pem_cert"][0]).spki_sha256.encode()

    def _stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"first"
        self.let_go.wait(20)
        yield b"last"


@contextmanager
def _served(files: TlsFiles, *, ask_callers: bool = True, port: int = 0) -> Iterator[tuple[str, OwnIdentity, Echo]]:
    own, echo = OwnIdentity(files), Echo()
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, [echo], options=OPTIONS)
        bound = server.add_secure_port(f"127.0.0.1:{port}", server_credentials(own.value, ask_callers=ask_callers))
        server.start()
        try:
            yield f"127.0.0.1:{bound}", own, echo
        finally:
            echo.let_go.set()
            server.stop(None).wait()


def _call(channel: grpc.Channel, timeout: float = 10) -> str:
    return bytes(channel.unary_unary(METHOD)(b"", timeout=timeout)).decode()


def _key(files: TlsFiles) -> str:
    assert files.cert is not None
    return peer_certificate(files.cert.read_bytes()).spki_sha256


def _pinned(files: TlsFiles, role: str, *keys: str) -> OwnIdentity:
    return OwnIdentity(replace(files, pins={role: keys}))


@pytest.fixture
def authority() -> Authority:
    """One that all roles trust."""
    return Authority()


def test_both_sides_take_new_certificates_without_losing_a_call(authority: Authority, tmp_path: Path) -> None:
    """Calls that run end on the old connection; the next ones show the new key."""
    server, client = (authority.issue(tmp_path, role) for role in ("party0", "a.client"))
    own = OwnIdentity(client)
    with _served(server) as (address, serving, echo), RoleChannel(address, own, "party0") as channel:
        method = channel.unary_unary(METHOD)
        first = _key(client)
        assert method(b"", timeout=10).decode() == first
        running = channel.unary_stream("/test.Service/Stream")(b"", timeout=20)
        assert next(running) == b"first"
        for role in ("party0", "a.client"):
            authority.issue(tmp_path, role)
        assert method(b"", timeout=10).decode() == first  # nobody has looked yet
        serving.look_again()
        own.look_again()
        end = time.monotonic() + 20
        while (shown := method(b"", timeout=10).decode()) == first and time.monotonic() < end:
            time.sleep(0.05)  # the old connection serves until the new one is there
        assert shown == _key(client) != first
        assert method.future(b"", timeout=10).result().decode() == _key(client)
        echo.let_go.set()
        assert list(running) == [b"last"]


def test_a_server_shows_its_new_certificate_to_new_connections(authority: Authority, tmp_path: Path) -> None:
    """Found by pinning the new key."""
    server, client = (authority.issue(tmp_path, role) for role in ("party0", "a.client"))
    with _served(server) as (address, serving, _):
        old = _key(server)
        authority.issue(tmp_path, "party0")
        serving.look_again()
        assert probe(address, replace(client, pins={"party0": [_key(server)]}), "party0") is None
        assert isinstance(probe(address, replace(client, pins={"party0": [old]}), "party0"), NotAuthenticated)


def test_files_of_another_role_are_not_taken(authority: Authority, tmp_path: Path) -> None:
    """A party does not become another one while it runs."""
    files = authority.issue(tmp_path, "party0")
    own = OwnIdentity(files)
    other = authority.issue(tmp_path / "other", "party1")
    for mine, theirs in ((files.cert, other.cert), (files.key, other.key)):
        assert mine is not None
        assert theirs is not None
        mine.write_bytes(theirs.read_bytes())
    before = own.value()
    own.look_again()
    assert own.value() is before


def test_a_pinned_key_is_served_and_another_is_not(authority: Authority, tmp_path: Path) -> None:
    """A certificate of our own authority for the right role, but for another key: case 21."""
    server, client = (authority.issue(tmp_path, role) for role in ("party0", "a.client"))
    rogue = authority.issue(tmp_path / "rogue", "party0")
    pinned = _pinned(client, "party0", _key(server))
    with _served(server) as (address, _, _), RoleChannel(address, pinned, "party0") as channel:
        assert _call(channel) == _key(client)
    with _served(rogue) as (address, _, _), RoleChannel(address, pinned, "party0") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            _call(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        why = probe(address, pinned.files, "party0")
        assert isinstance(why, NotAuthenticated)
        assert "the pinned key" in why.expected
        with RoleChannel(address, OwnIdentity(client), "party0") as free:
            assert _call(free) == _key(client)  # without a pin the authority is believed


def test_a_rogue_that_takes_over_later_is_refused_too(authority: Authority, tmp_path: Path) -> None:
    """The channel was made while the right server was there, and connects again by itself."""
    server, client = (authority.issue(tmp_path, role) for role in ("party0", "a.client"))
    rogue = authority.issue(tmp_path / "rogue", "party0")
    pinned = _pinned(client, "party0", _key(server))
    with _served(server) as (address, _, _):
        channel = RoleChannel(address, pinned, "party0")
        assert _call(channel) == _key(client)
    port = int(address.rpartition(":")[2])
    with channel, _served(rogue, port=port):
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as caught:
                _call(channel, timeout=3)
            assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_a_pinned_key_may_get_another_certificate(authority: Authority, tmp_path: Path) -> None:
    """Renewal with the same key: the channel finds the new certificate when it connects again."""
    server, client = (authority.issue(tmp_path, role) for role in ("party0", "a.client"))
    pinned = _pinned(client, "party0", _key(server))
    with _served(server) as (address, _, _):
        channel = RoleChannel(address, pinned, "party0")
        assert _call(channel) == _key(client)
    port = int(address.rpartition(":")[2])
    authority.issue(tmp_path, "party0", key=key_of(server))
    with channel, _served(server, port=port):
        end = datetime.datetime.now() + datetime.timedelta(seconds=20)
        answer = ""
        while not answer and datetime.datetime.now() < end:
            try:
                answer = _call(channel, timeout=3)
            except grpc.RpcError:
                threading.Event().wait(0.5)
        assert answer == _key(client)


def test_a_pinned_server_may_start_later(authority: Authority, tmp_path: Path) -> None:
    """Until then nobody is trusted; the cause is the one that it is."""
    server, client = (authority.issue(tmp_path, role) for role in ("party0", "a.client"))
    pinned = _pinned(client, "party0", _key(server))
    with _served(server) as (address, _, _):
        pass
    with RoleChannel(address, pinned, "party0") as channel:
        with pytest.raises(grpc.RpcError):
            _call(channel, timeout=3)
        assert isinstance(probe(address, pinned.files, "party0"), PeerLost)
        with _served(server, port=int(address.rpartition(":")[2])):
            threading.Event().wait(1.1)
            assert _call(channel) == _key(client)


def test_a_call_does_not_wait_for_a_server_whose_certificate_was_never_seen(
    authority: Authority, tmp_path: Path
) -> None:
    """Its connection trusts nobody, so it would wait until its deadline even where the server comes meanwhile."""
    server, client = (authority.issue(tmp_path, role) for role in ("party0", "a.client"))
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{holder.getsockname()[1]}"
    with RoleChannel(address, _pinned(client, "party0", _key(server)), "party0") as channel:
        method, started = channel.unary_unary(METHOD), time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            method(b"", timeout=60, wait_for_ready=True)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - started < 30


def test_a_token_travels_with_every_call_as_it_is_then(authority: Authority, tmp_path: Path) -> None:
    """Over a port that asks callers for no certificate."""
    server = authority.issue(tmp_path, "party0")
    own = OwnIdentity(TlsFiles(server.ca, None, None))
    tokens = ["one"]
    with (
        _served(server, ask_callers=False) as (address, _, _),
        RoleChannel(address, own, "party0", token=lambda: tokens[-1]) as channel,
    ):
        assert _call(channel) == "Bearer one"
        tokens.append("two")
        assert _call(channel) == "Bearer two"


def test_a_closed_channel_raises(authority: Authority, tmp_path: Path) -> None:
    """As gRPC's own do."""
    files = authority.issue(tmp_path, "a.client")
    channel = RoleChannel("127.0.0.1:1", OwnIdentity(files), "party0")
    channel.close()
    with pytest.raises(ValueError, match="closed channel"):
        _call(channel)
