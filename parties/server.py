"""Processes: bind, report health, serve until a signal, stop in order."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mpcvit.errors import ConfigError
from mpcvit.wire.tls import OPTIONS, TlsFiles, server_credentials
from mpcvit.wire.v1 import dealer_pb2_grpc, inference_pb2_grpc, peer_pb2_grpc
from parties.compute import ComputeParty
from parties.dealer import Dealer
from parties.dealer_service import DealerService
from parties.inference_service import InferenceService
from parties.peer_service import PeerService
from parties.settings import DealerSettings, PartySettings

log = logging.getLogger("mpcvit.server")
#: Threads that wait in streams and for peers; sessions themselves run in their own pool.
_WAITERS_PER_SESSION = 8


def serve_party(settings: PartySettings) -> None:
    """Run a compute party until SIGTERM or SIGINT; then drain."""
    party = ComputeParty(settings)
    workers = _WAITERS_PER_SESSION * (settings.limits.sessions + settings.limits.queue)
    clients, peers = _server(workers), _server(workers)
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(InferenceService(party), clients)
    peer_pb2_grpc.add_PeerServiceServicer_to_server(PeerService(party), peers)
    files = settings.tls.files
    _bind(clients, settings.listen.client, files)
    _bind(peers, settings.listen.peer, files)
    _serve([clients, peers], settings.listen.health, f"party{settings.index}", party.drain)


def serve_dealer(settings: DealerSettings) -> None:
    """Run a dealer until SIGTERM or SIGINT."""
    dealer = Dealer(settings)
    server = _server(_WAITERS_PER_SESSION * 8)
    dealer_pb2_grpc.add_DealerServiceServicer_to_server(DealerService(dealer), server)
    _bind(server, settings.listen.party, settings.tls.files)
    _serve([server], settings.listen.health, "dealer", dealer.close)


def _server(workers: int) -> grpc.Server:
    return grpc.server(ThreadPoolExecutor(workers, thread_name_prefix="grpc"), options=OPTIONS)


def _bind(server: grpc.Server, address: str, files: TlsFiles | None) -> None:
    """Listen on ``address``; with TLS unless ``files`` is None (health only).

    Raises:
        ConfigError: the address cannot be bound.
    """
    try:
        bound = (
            server.add_insecure_port(address)
            if files is None
            else server.add_secure_port(address, server_credentials(files))
        )
    except RuntimeError:
        bound = 0
    if not bound:
        raise ConfigError(
            f"address {address}",
            expected="a free local host:port",
            remedy="Stop the other process on that port, or change 'listen' in the configuration.",
        )


def _serve(servers: list[grpc.Server], health_address: str, role: str, stop: Callable[[], None]) -> None:
    checks = _server(2)
    status = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, checks)
    _bind(checks, health_address, None)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    for server in (*servers, checks):
        server.start()
    status.set("", health_pb2.HealthCheckResponse.SERVING)
    log.info("%s is ready", role)
    ended.wait()
    log.info("%s stops", role)
    status.enter_graceful_shutdown()
    stop()
    for server in (*servers, checks):
        server.stop(grace=1).wait()
