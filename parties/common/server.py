"""Processes: check addresses and certificates, serve until a signal, stop in order."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Sequence

import grpc

from mpcvit.wire.tls import OPTIONS, TlsFiles
from parties.common.audit import AuditLog
from parties.common.door import Door, Identify
from parties.common.health import HealthServer
from parties.common.listen import check_free
from parties.common.metrics import Metrics, MetricsServer
from parties.common.readiness import Readiness
from parties.common.refusals import Refusals
from parties.common.server_threads import ServerThreads
from parties.common.settings import DealerListen, PartyListen

log = logging.getLogger("mpcvit.server")
#: Threads of a server. They wait: for requests, for peers, for results. One is made when it is first needed.
_THREADS = 256
#: Callers that may have all their calls open, and as many that wait for their request, before others have to wait.
_CALLERS = 4
#: Seconds after which the main thread looks for signals. The kernel may hand one to any thread; Python runs its handler
#: in the main thread, which does not wake up for it.
_LOOK_S = 0.25
#: Seconds within which the request of a unary call must come, and within which calls end when a process stops.
_SILENCE_S = 10.0
_END_S = 0.5


def check(role: str, files: TlsFiles, addresses: Iterable[str]) -> None:
    """Refuse what cannot work before anything is loaded, and before the ledger of a process that runs is touched.

    Raises:
        MpcvitError: a certificate is not ``role``'s, or an address is taken.
    """
    files.read()
    files.require_role(role)
    for address in addresses:
        check_free(address)


def make_server(role: str, calls: int, identify: Identify, audit: AuditLog) -> grpc.Server:
    """Return a server of ``role`` that answers callers whom ``identify`` knows, each so many calls at once."""
    door = Door(role, calls=calls, silence_s=_SILENCE_S, identify=identify)
    most = max(_THREADS, 2 * _CALLERS * calls)
    threads = ServerThreads(most)
    return grpc.server(threads, interceptors=[Refusals(audit), door], options=OPTIONS, maximum_concurrent_rpcs=2 * most)


def serve(
    servers: Sequence[grpc.Server],
    own: PartyListen | DealerListen,
    readiness: Readiness,
    metrics: Metrics,
    stop: Callable[[], None],
    look_again: Callable[[], None],
) -> None:
    """Start servers that listen already, show how the process is, and answer until SIGTERM or SIGINT.

    Args:
        own: where health and metrics are shown.
        look_again: called on SIGHUP; looks at once whether files have changed.
        stop: called then, before the servers stop.
    """
    metrics.watch(readiness)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    signal.signal(signal.SIGHUP, lambda *_: look_again())
    for server in servers:
        server.start()
    shown: list[HealthServer | MetricsServer] = [HealthServer(own.health, readiness)]
    if own.metrics is not None:
        shown.append(MetricsServer(own.metrics, metrics))
    log.info("%s serves", metrics.role)
    readiness.start()
    while not ended.wait(_LOOK_S):
        pass
    log.info("%s stops", metrics.role)
    readiness.stop()
    stop()
    for end in [server.stop(_END_S) for server in servers]:
        end.wait(2 * _END_S)
    for one in shown:
        one.close()
