"""Traces for OpenTelemetry: one span per session or lease, one per phase inside; ids and counts, never data."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import grpc
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import StatusCode, set_span_in_context

from mpcvit import __version__
from mpcvit.errors import ConfigError
from parties.common.session_record import OK, Phase, SessionRecord
from parties.common.settings import OtelSettings

_EXPORT_S = 5.0
#: Seconds that a process which stops gives to spans that were not sent yet.
_FLUSH_S = 0.5


class Tracing:
    """Sends spans to a collector, from a thread of its own.

    A trace has the id of its session, so the spans of all parties meet without any message between them.

    Raises:
        ConfigError: the authority's file cannot be read.
    """

    def __init__(self, settings: OtelSettings, role: str) -> None:
        self._lock, self._ids = threading.Lock(), _TraceIds()
        resource = Resource.create({"service.name": "mpcvit", "service.version": __version__, "mpcvit.role": role})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(settings)))
        self._tracer = self._provider.get_tracer("mpcvit", __version__)

    def session(self, record: SessionRecord) -> None:
        """Send the spans of an ended session."""
        attributes: dict[str, str | int] = {
            "mpcvit.session_id": record.session_id.hex(),
            "mpcvit.model": record.model,
            "mpcvit.code": record.code,
            "mpcvit.rounds": record.rounds,
            "mpcvit.bytes_sent": sum(record.bytes_sent.values()),
            "mpcvit.bytes_received": sum(record.bytes_received.values()),
        }
        self.send("session", record.session_id, record.phases, attributes, failed=record.code != OK)

    def send(
        self,
        name: str,
        identity: bytes,
        phases: Sequence[Phase],
        attributes: Mapping[str, str | int],
        *,
        failed: bool,
    ) -> None:
        """Send one span, with one more for each phase.

        Args:
            identity: 16 bytes, the id of the trace.
            phases: one or more, in order.
        """
        with self._lock:
            self._ids.trace_id = int.from_bytes(identity)
            whole = self._tracer.start_span(name, Context(), attributes=attributes, start_time=phases[0].start_ns)
        inside = set_span_in_context(whole, Context())
        for phase in phases:
            part = self._tracer.start_span(phase.name, inside, attributes=attributes, start_time=phase.start_ns)
            part.end(phase.end_ns)
        if failed:
            whole.set_status(StatusCode.ERROR)
        whole.end(phases[-1].end_ns)

    def close(self) -> None:
        """Send what is left, if the collector takes it in a moment."""
        last = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        last.start()
        last.join(_FLUSH_S)


class _TraceIds(RandomIdGenerator):
    """Gives the next trace the id that it was told."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def is_trace_id_random(self) -> bool:
        return False


def _exporter(settings: OtelSettings) -> OTLPSpanExporter:
    encrypted = settings.endpoint.startswith("https:")
    try:
        authority = settings.ca.read_bytes() if settings.ca else None
    except OSError as error:
        raise ConfigError(
            f"{type(error).__name__} reading {settings.ca}",
            expected="the collector's authority, a PEM file",
            remedy="Correct 'otel.ca' in the configuration.",
        ) from error
    return OTLPSpanExporter(
        endpoint=settings.endpoint,
        insecure=not encrypted,
        credentials=grpc.ssl_channel_credentials(authority) if encrypted else None,
        timeout=_EXPORT_S,
        channel_options=(("grpc.enable_http_proxy", 0),),  # type: ignore[arg-type]  # numbers are right
    )
