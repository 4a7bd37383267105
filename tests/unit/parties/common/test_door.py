"""Calls behind a door, on real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mpcvit.errors import Overloaded, ProtocolViolation, QuotaExceeded
from mpcvit.wire.status import from_rpc_error
from parties.common.door import Door
from parties.common.failure import answering

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
THREADS = 8


class Health(health_pb2_grpc.HealthServicer):
    """Answers at once, and watches until told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def Check(self, request: Any, context: grpc.ServicerContext) -> object:  # noqa: N802
        with answering(context, "party0"):
            if request.service == "refused":
                raise QuotaExceeded("too much", expected="less", remedy="Wait.")
        return SERVING

    def Watch(self, request: object, context: grpc.ServicerContext) -> Iterator[object]:  # noqa: N802
        yield SERVING
        self.go_on.wait(20)


@contextmanager
def _served(silence_s: float) -> Iterator[tuple[Health, str]]:
    """A service behind a door that knows callers by a word that they bring."""
    health = Health()
    door = Door(
        "party0", calls=4, silence_s=silence_s, identify=lambda call: dict(call.invocation_metadata()).get("name")
    )
    server = grpc.server(ThreadPoolExecutor(THREADS), interceptors=[door])
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield health, f"127.0.0.1:{port}"
    health.go_on.set()
    server.stop(0).wait()


@pytest.fixture
def service() -> Iterator[tuple[Health, str]]:
    """One that waits a second for a request."""
    with _served(1.0) as running:
        yield running


def _check(channel: grpc.Channel, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(), timeout=5, metadata=(("name", name),)).status


def test_answers_pass(service: tuple[Health, str]) -> None:
    """Unary calls and streams are served as without a door."""
    health, address = service
    health.go_on.set()
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert _check(channel, "alice") == SERVING.status
        answers = stub.Watch(health_pb2.HealthCheckRequest(), timeout=5, metadata=(("name", "alice"),))
        assert [answer.status for answer in answers] == [SERVING.status]


def test_silent_calls_keep_nobody_out(service: tuple[Health, str]) -> None:
    """A hundred calls without a request take some threads for a moment: others are answered, and then the caller is."""
    _, address = service
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(30)
        yield from ()

    with grpc.insecure_channel(address) as silent, grpc.insecure_channel(address) as channel:
        call = silent.stream_unary(CHECK)
        calls = [call.future(nothing(), metadata=(("name", "eve"),)) for _ in range(100)]
        time.sleep(0.2)
        assert _check(channel, "alice") == SERVING.status
        for one in calls:
            with pytest.raises(grpc.RpcError):
                one.result(timeout=20)
        assert _check(silent, "eve") == SERVING.status
        over.set()


def test_one_caller_has_so_many_calls(service: tuple[Health, str]) -> None:
    """The next is OVERLOADED at once; another caller's is not; when calls end there is room again."""
    health, address = service
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        streams = [
            stub.Watch(health_pb2.HealthCheckRequest(), timeout=20, metadata=(("name", "eve"),)) for _ in range(4)
        ]
        for stream in streams:
            assert next(stream).status == SERVING.status
        with pytest.raises(grpc.RpcError) as caught:
            _check(channel, "eve")
        error = from_rpc_error(caught.value, "party0")
        assert isinstance(error, Overloaded)
        assert error.origin == "party0"
        assert _check(channel, "alice") == SERVING.status
        health.go_on.set()
        for stream in streams:
            assert list(stream) == []
        assert _check(channel, "eve") == SERVING.status


def test_silent_calls_keep_no_other_call_out() -> None:
    """They are counted apart, and the oldest makes room: the same caller's calls are answered meanwhile."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(30)
        yield from ()

    with (
        _served(20.0) as (_, address),
        grpc.insecure_channel(address) as silent,
        grpc.insecure_channel(address) as channel,
    ):
        call = silent.stream_unary(CHECK)
        calls = [call.future(nothing(), metadata=(("name", "eve"),)) for _ in range(4)]
        time.sleep(0.7)  # behind the grace of each
        assert _check(channel, "eve") == SERVING.status  # within its 5 s: none of them had to end by itself
        end = time.monotonic() + 5
        while not any(one.done() for one in calls):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert sum(one.done() for one in calls) == 1
        over.set()


def test_who_is_refused_all_the_time_hears_it_later(service: tuple[Health, str]) -> None:
    """Fifty times at once, then ten times a second; what is no refusal is not slowed, nor is anybody else."""
    _, address = service

    def refused(count: int) -> float:
        start = time.monotonic()
        for _ in range(count):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Check(health_pb2.HealthCheckRequest(service="refused"), timeout=5, metadata=(("name", "eve"),))
            assert isinstance(from_rpc_error(caught.value, "party0"), QuotaExceeded)
        return time.monotonic() - start

    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        first, later = refused(50), refused(10)
        assert later > 0.5
        start = time.monotonic()
        for name in ("eve", "alice") * 10:
            assert _check(channel, name) == SERVING.status
        assert time.monotonic() - start < first + later


def test_a_call_without_a_request(service: tuple[Health, str]) -> None:
    """It is a violation of the protocol, said so."""
    _, address = service
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(CHECK)(iter([]), metadata=(("name", "alice"),))
    assert isinstance(from_rpc_error(caught.value, "party0"), ProtocolViolation)
