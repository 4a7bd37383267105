"""An OTLP collector as a process of its own: it prints one JSON line per span that it gets.

Run as ``python -m tests.support.collector ADDRESS``; prints ``ready`` first.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2

ROOT = Path(__file__).resolve().parents[2]


class _Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Print what came."""
        for group in request.resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                for span in scope.spans:
                    line = {
                        "name": span.name,
                        "trace_id": span.trace_id.hex(),
                        "span_id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                        "failed": span.status.code == span.status.STATUS_CODE_ERROR,
                        "attributes": _values(span.attributes),
                        "events": len(span.events),
                        "resource": resource,
                    }
                    print(json.dumps(line), flush=True)  # noqa: T201
        return trace_service_pb2.ExportTraceServiceResponse()


def _values(attributes: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: common_pb2.AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value"))


class Spans:
    """What a collector has printed so far."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def all(self) -> list[dict[str, Any]]:
        """Every span."""
        return [json.loads(line) for line in self._output.read_text().splitlines()[1:]]

    def wait_for(
        self, count: int, wanted: Callable[[dict[str, Any]], bool] = lambda span: True, timeout_s: float = 30
    ) -> list[dict[str, Any]]:
        """The spans that are wanted, once there are so many."""
        end = time.monotonic() + timeout_s
        while len(found := list(filter(wanted, self.all()))) < count:
            assert time.monotonic() < end, found
            time.sleep(0.1)
        return found


@contextmanager
def collector(address: str, folder: Path) -> Iterator[Spans]:
    """A collector that listens on ``address`` inside the context."""
    output = folder / "spans.jsonl"
    with output.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-m", __spec__.name, address], stdout=stream, cwd=ROOT)
    try:
        end = time.monotonic() + 30
        while not output.read_text().startswith("ready"):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield Spans(output)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Collector(), server)
    server.add_insecure_port(sys.argv[1])
    server.start()
    print("ready", flush=True)  # noqa: T201
    server.wait_for_termination()
