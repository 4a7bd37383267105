"""A hostile peer: it stands between the parties with both of their certificates and changes what they say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from grpc_status import rpc_status

from mpcvit.wire import SESSION_METADATA
from mpcvit.wire.tls import OPTIONS, TlsFiles, server_credentials
from tests.support.channels import secure_channel

_LONGEST_S = 1e6
#: From a method, a direction (``request`` or ``answer``) and a message, the messages that go on.
Change = Callable[[str, str, bytes], Iterable[bytes]]


def _unchanged(method: str, direction: str, message: bytes) -> Iterable[bytes]:
    return [message]


class PeerInTheMiddle(grpc.GenericRpcHandler):
    """A context manager: a gRPC server that party 0 takes for party 1, and that is party 0 to party 1.

    Args:
        files: TLS files of both parties, party 0 first.
        port: where it listens, on loopback.
        target: party 1's own address.

    Attributes:
        change: what is done to messages now; by default nothing.
    """

    def __init__(self, files: tuple[TlsFiles, TlsFiles], port: int, target: str) -> None:
        self._files, self._port, self._target = files, port, target
        self.change: Change = _unchanged

    def __enter__(self) -> Self:
        self._channel = secure_channel(self._target, self._files[0], "party1")
        self._server = grpc.server(ThreadPoolExecutor(16), options=OPTIONS)
        self._server.add_generic_rpc_handlers([self])
        own = self._files[1].read()
        self._server.add_secure_port(f"127.0.0.1:{self._port}", server_credentials(lambda: own))
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
        self._channel.close()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._forward(method, requests, context))

    def _forward(self, method: str, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        kept = tuple(pair for pair in context.invocation_metadata() if pair[0] == SESSION_METADATA)
        left = context.time_remaining()  # without a deadline: thousands of years, or None
        call = self._channel.stream_stream(method)(
            self._changed(method, "request", requests),
            metadata=kept,
            timeout=left if left is not None and left < _LONGEST_S else None,
        )
        context.add_callback(call.cancel)
        try:
            yield from self._changed(method, "answer", call)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            if status is not None:
                context.abort_with_status(rpc_status.to_status(status))
            context.abort(error.code(), error.details() or "")

    def _changed(self, method: str, direction: str, messages: Iterable[bytes]) -> Iterator[bytes]:
        try:
            for message in messages:
                yield from self.change(method.rpartition("/")[2], direction, message)
        except Exception as error:  # gRPC's request iterators raise a bare Exception when the caller is gone
            if isinstance(error, grpc.RpcError):
                raise


class OnNthFrame:
    """Changes one message of an Exchange stream: the ``number``-th one with a frame in it, in one direction.

    Args:
        kind: the message's class.
        replace: from the parsed message before it, if any, and the parsed message, the messages that go on.
    """

    def __init__(
        self, number: int, direction: str, kind: type[Any], replace: Callable[[Any, Any], Iterable[Any]]
    ) -> None:
        self._number, self._direction, self._kind, self._replace = number, direction, kind, replace
        self._lock = threading.Lock()
        self._seen = 0
        self._last: Any = None

    def __call__(self, method: str, direction: str, message: bytes) -> Iterable[bytes]:
        if (method, direction) != ("Exchange", self._direction):
            return [message]
        parsed = self._kind.FromString(message)
        if parsed.WhichOneof("part") != "chunk":
            return [message]
        with self._lock:
            self._seen += 1
            last, self._last = self._last, parsed
            if self._seen != self._number:
                return [message]
        return [changed.SerializeToString() for changed in self._replace(last, parsed)]
