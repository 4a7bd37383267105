"""Metrics for Prometheus: what every service counts, and where they are read. No label names a session."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector, make_wsgi_app

from mpcvit import __version__
from mpcvit.errors import MpcvitError
from mpcvit.wire.own_certificate import expires
from parties.common.listen import check_free
from parties.common.readiness import Readiness

_SILENCE_S = 5.0


class Metrics:
    """Counters and gauges of one process, in a registry of their own.

    Args:
        role: of this process.
        certificate: its PEM file.

    Attributes:
        bytes: payload, without framing and TLS, by ``peer`` and ``dir``, which is ``sent`` or ``received``.
    """

    def __init__(self, role: str, certificate: Path) -> None:
        self.role, self.registry = role, CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("mpcvit", "What runs here.", registry=self.registry).info({"role": role, "version": __version__})
        self.bytes = self.counter("mpcvit_bytes", "Payload bytes, without framing and TLS.", "peer", "dir")
        self._burned = self.counter("mpcvit_material_burned", "Sessions' material that is used up or lost.", "reason")
        self.gauge(
            "mpcvit_cert_expiry_seconds", "Seconds until this role's certificate expires; negative after."
        ).set_function(partial(_expires_in, certificate))

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """Return a new counter, which is shown as ``<name>_total``."""
        return Counter(name, meaning, labels, registry=self.registry)

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        """Return a new gauge."""
        return Gauge(name, meaning, labels, registry=self.registry)

    def count_burned(self, reason: str) -> None:
        """Count one session's material that can never be used again."""
        self._burned.labels(reason).inc()

    def watch(self, readiness: Readiness) -> None:
        """Show whether the service is ready, and which conditions are met."""
        self.gauge("mpcvit_ready", "1 while the service is ready for work, else 0.").set_function(
            lambda: readiness.ready
        )
        met = self.gauge("mpcvit_condition_met", "1 while a condition of readiness is met, else 0.", "condition")
        for name in readiness.conditions:
            met.labels(name).set_function(partial(_is_met, readiness, name))


def _is_met(readiness: Readiness, name: str) -> bool:
    return name not in readiness.unmet


def _expires_in(certificate: Path) -> float:
    """Return seconds; not a number while the file cannot be read."""
    try:
        return expires(certificate).timestamp() - time.time()
    except MpcvitError:
        return math.nan


class MetricsServer:
    """Shows ``metrics`` over HTTP, without TLS: keep the address private.

    Raises:
        ConfigError: ``address`` cannot be bound.
    """

    def __init__(self, address: str, metrics: Metrics) -> None:
        check_free(address)
        host, _, port = address.rpartition(":")
        self._server = make_server(host.strip("[]"), int(port), make_wsgi_app(metrics.registry), _Threads, _Handler)
        Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_S  # a caller that says nothing

    def log_message(self, *_: object) -> None:
        """Log nothing: scrapes come every few seconds."""
