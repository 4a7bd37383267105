"""Health over ``grpc.health.v1``: whether the process lives, and whether it is ready."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mpcvit.wire import READY_SERVICE, UNMET_METADATA
from mpcvit.wire.tls import OPTIONS
from parties.common.listen import check_free
from parties.common.readiness import Readiness

#: Anybody may call, so nobody keeps anything for long: silent calls, idle and half-open connections, watchers end.
_SHORT_LIVES = [
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.max_connection_idle_ms", 10_000),
    ("grpc.max_connection_age_ms", 60_000),
    ("grpc.max_connection_age_grace_ms", 1_000),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_receive_message_length", 4_096),
]
_PAUSE_S = 0.5

_Status = health_pb2.HealthCheckResponse
_Answer = TypeVar("_Answer")


class HealthServer:
    """Answers without TLS, for probes, from an event loop of its own: a call that says nothing holds no thread.

    Service ``""`` serves while the process lives, ``"ready"`` while it is ready, and each condition of ``readiness`` is
    a service as well. Why something does not serve is in the trailing metadata of ``Check``.

    Raises:
        ConfigError: ``address`` cannot be bound.
    """

    def __init__(self, address: str, readiness: Readiness) -> None:
        check_free(address)
        self._readiness = readiness
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="health", daemon=True)
        self._thread.start()
        self._server = self._run(self._start(address))

    def close(self) -> None:
        """Answer no more."""
        self._run(self._server.stop(grace=0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, _Answer]) -> _Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _start(self, address: str) -> grpc.aio.Server:
        server = grpc.aio.server(options=[*OPTIONS, *_SHORT_LIVES])
        health_pb2_grpc.add_HealthServicer_to_server(_HealthService(self._readiness), server)
        server.add_insecure_port(address)
        await server.start()
        return server


class _HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc has no annotations
    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Return how ``request.service`` is, and in trailing metadata why."""
        unmet = self._unmet(request.service)
        if unmet is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return _Status()
        context.set_trailing_metadata(
            [(UNMET_METADATA, f"{name}: {why}".encode("ascii", "replace").decode()) for name, why in unmet.items()]
        )
        return _Status(status=_Status.NOT_SERVING if unmet else _Status.SERVING)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield how ``request.service`` is, now and whenever that changes."""
        said = None
        while True:
            unmet = self._unmet(request.service)
            status = _Status.SERVICE_UNKNOWN if unmet is None else _Status.NOT_SERVING if unmet else _Status.SERVING
            if status != said:
                yield _Status(status=status)
                said = status
            await asyncio.sleep(_PAUSE_S)

    def _unmet(self, service: str) -> dict[str, str] | None:
        """Return why ``service`` does not serve, by the names of conditions; None if there is no such service."""
        if not service:
            return {}
        unmet = self._readiness.unmet
        if service == READY_SERVICE:
            return unmet
        if service not in self._readiness.conditions:
            return None
        return {name: why for name, why in unmet.items() if name == service}
