"""When a service is ready, what it says otherwise, and where that can be read."""

from __future__ import annotations

import datetime
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.errors import ConfigError
from parties.common import conditions
from parties.common.conditions import certificate, disk, memory
from parties.common.health import HealthServer
from parties.common.readiness import Readiness
from parties.local.provision import provision_local
from tests.support.ports import free_address

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Switch:
    """A condition that a test turns on and off."""

    def __init__(self) -> None:
        self.why: str | None = None

    def __call__(self) -> str | None:
        return self.why


@pytest.fixture
def dealer() -> Switch:
    """A condition."""
    return Switch()


@pytest.fixture
def readiness(dealer: Switch) -> Iterator[Readiness]:
    """Of a party that needs a dealer; looked at when a test says so."""
    found = Readiness("party0", {"dealer": dealer, "disk": lambda: None})
    found.look()
    return found


@pytest.fixture
def address(readiness: Readiness) -> Iterator[str]:
    """Where its health can be asked for."""
    address = free_address()
    server = HealthServer(address, readiness)
    yield address
    server.close()


def _check(address: str, service: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status


def test_changes_are_logged_once_with_their_reasons(
    readiness: Readiness, dealer: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mpcvit.readiness")
    for why in (None, "no answer", "no answer", "another version", None):
        dealer.why = why
        readiness.look()
        assert readiness.unmet == ({"dealer": why} if why else {})
    assert [record.getMessage() for record in caplog.records] == [
        "party0 is not ready: dealer: no answer",
        "party0 is not ready: dealer: another version",
        "party0 is ready",
    ]


def test_a_condition_that_fails_is_not_met(caplog: pytest.LogCaptureFixture) -> None:
    """Its text stays out of the answer."""
    secret = str(7**20)

    def fail() -> str | None:
        raise ValueError(secret)

    readiness = Readiness("party0", {"memory": fail})
    readiness.look()
    assert readiness.unmet == {"memory": "cannot be found out (ValueError)"}
    assert secret not in caplog.text


def test_a_service_is_not_ready_before_the_first_look_and_while_it_stops(readiness: Readiness) -> None:
    assert Readiness("party0", {}).unmet == {"starting": "the service starts"}
    readiness.start()
    readiness.stop()
    assert readiness.unmet == {"stopping": "the service stops"}


def test_a_stock_client_sees_liveness_readiness_and_each_condition(
    readiness: Readiness, dealer: Switch, address: str
) -> None:
    for why, ready in ((None, SERVING), ("no answer", NOT_SERVING)):
        dealer.why = why
        readiness.look()
        assert [_check(address, name) for name in ("", "ready", "dealer", "disk")] == [SERVING, ready, ready, SERVING]
    with pytest.raises(grpc.RpcError) as caught:
        _check(address, "database")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_watchers_hear_of_changes_even_after_another_has_left(
    readiness: Readiness, dealer: Switch, address: str
) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="ready")
        leaving, staying = stub.Watch(request, timeout=20), stub.Watch(request, timeout=20)
        assert next(leaving).status == next(staying).status == SERVING
        leaving.cancel()
        dealer.why = "no answer"
        readiness.look()
        assert next(staying).status == NOT_SERVING
        staying.cancel()


def test_silent_and_endless_calls_do_not_keep_others_from_asking(address: str) -> None:
    """More of them, over more connections, than a pool of threads would have."""
    with ExitStack() as stack:
        for _ in range(30):
            channel = stack.enter_context(grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]))
            silent, held = channel.stream_unary("/grpc.health.v1.Health/Check"), threading.Event()
            stack.callback(held.set)
            for _ in range(8):
                silent.future(iter(held.wait, True))
            next(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60))
        start = time.monotonic()
        assert _check(address, "") == SERVING
        assert time.monotonic() - start < 5


def test_the_command_says_whether_and_why_not(readiness: Readiness, dealer: Switch, address: str) -> None:
    run = CliRunner()
    assert "ready" in run.invoke(app, ["health", address]).output
    dealer.why = "no answer"
    readiness.look()
    result = run.invoke(app, ["health", address])
    assert result.exit_code == 1
    assert "not ready" in result.output
    assert "dealer: no answer" in result.output
    assert run.invoke(app, ["health", address, "--live"]).exit_code == 0
    found = run.invoke(app, ["health", address, "--json"])
    assert json.loads(found.stdout) == {
        "address": address,
        "status": "SERVING",
        "ready": False,
        "unmet": {"dealer": "no answer"},
    }


def test_an_address_that_is_taken_is_refused(readiness: Readiness, address: str) -> None:
    with pytest.raises(ConfigError, match=address):
        HealthServer(address, readiness)


def test_a_disk_must_be_writable_and_have_room(tmp_path: Path) -> None:
    assert disk(tmp_path)() is None
    assert list(tmp_path.iterdir()) == []
    assert disk(tmp_path / "missing")() == "the state folder cannot be written to: No such file or directory"
    full = os.statvfs_result((4096, 4096, 1000, 1000, 1000, 9, 9, 9, 0, 255))
    with patch.object(conditions.os, "statvfs", return_value=full):
        assert disk(tmp_path)() == "less than 16 MiB free in the state folder"


def test_memory_must_be_there_for_a_session_that_would_begin() -> None:
    assert memory(1 << 20, lambda: True)() is None
    assert memory(1 << 60, lambda: False)() is None
    assert "free that a session needs" in str(memory(1 << 60, lambda: True)())


@pytest.mark.parametrize("age_days", [0, 800])
def test_an_expired_certificate_is_of_no_use(age_days: int, tmp_path: Path) -> None:
    issued = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=age_days)
    provision_local(tmp_path / "tls", ["party0"], now=issued)
    why = certificate(tmp_path / "tls" / "party0.crt")()
    assert (why is None) is (age_days == 0)
    assert why is None or why.startswith("expired at ")
