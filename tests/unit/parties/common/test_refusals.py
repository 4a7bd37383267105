"""Refused calls get into the audit log, on real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mpcvit.errors import NotAllowed, PeerLost
from mpcvit.wire.status import abort
from parties.common.audit import FILE_NAME, AuditLog
from parties.common.door import Door
from parties.common.refusals import Refusals


class Health(health_pb2_grpc.HealthServicer):
    """Refuses calls about ``secret``, fails the session of ``session``, and has a bug for ``bug``."""

    def Check(self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext) -> object:  # noqa: N802
        if request.service == "secret":
            abort(context, NotAllowed("you", expected="somebody else", remedy="Go."))
        if request.service == "session":
            abort(context, PeerLost("nobody", expected="a peer", remedy="Wait.", session_id="ab" * 16))
        if request.service == "bug":
            raise RuntimeError
        return health_pb2.HealthCheckResponse()

    def Watch(self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext) -> Iterator[object]:  # noqa: N802
        yield self.Check(request, context)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A service whose refusals are written to a log."""
    audit = AuditLog(tmp_path, "party0")
    door = Door("party0", calls=4, silence_s=5.0, identify=lambda context: context.peer())
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[Refusals(audit), door])
    health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()
    audit.close()


def test_refused_calls_are_recorded(address: str, tmp_path: Path) -> None:
    """Unary calls and streams, with reason and address. Answers, failed sessions and bugs are told elsewhere."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        for service in ("secret", "session", "bug"):
            request = health_pb2.HealthCheckRequest(service=service)
            with pytest.raises(grpc.RpcError):
                stub.Check(request, timeout=10)
            with pytest.raises(grpc.RpcError):
                list(stub.Watch(request, timeout=10))
    lines = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    refused = [line for line in lines if line["event"] == "refused"]
    assert [(line["call"], line["reason"], line["address"], line["caller"]) for line in refused] == [
        ("Check", "NOT_ALLOWED", "127.0.0.1", ""),
        ("Watch", "NOT_ALLOWED", "127.0.0.1", ""),
    ]
