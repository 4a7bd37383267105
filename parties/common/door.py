"""What every call passes before its service sees it: who calls, how much it calls, and an end to its silence."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from mpcvit.errors import Overloaded
from parties.common.deadline import deadline
from parties.common.failure import answering

Identify = Callable[[grpc.ServicerContext], object]


class Door(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no annotations
    """An interceptor that keeps one caller from taking all threads of a server.

    gRPC waits for the request of a unary call in a thread, for as long as its caller likes, before anybody looks at
    the caller. Behind this door a unary request is read as a stream of one message, so our own code begins at once.

    Args:
        role: who answers, for errors.
        calls: calls that one caller may have at once.
        silence_s: seconds within which the request of a unary call must come.
        identify: says who calls, or raises.
    """

    def __init__(self, role: str, *, calls: int, silence_s: float, identify: Identify) -> None:
        self._role, self._identify, self._most, self._silence_s = role, identify, calls, silence_s
        self._lock = threading.Lock()
        self._calls: Counter[object] = Counter()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Return the handler that ``continuation`` finds, behind this door."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        serializers = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            answer = self._streaming(handler.stream_stream or handler.unary_stream, handler.request_streaming)
            return grpc.stream_stream_rpc_method_handler(answer, **serializers)
        answer = self._unary(handler.stream_unary or handler.unary_unary, handler.request_streaming)
        return grpc.stream_unary_rpc_method_handler(answer, **serializers)

    def _streaming(self, behavior: Callable[..., Any], request_streaming: bool) -> Callable[..., Any]:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._inside(context):
                yield from behavior(requests if request_streaming else self._one(requests, context), context)

        return answer

    def _unary(self, behavior: Callable[..., Any], request_streaming: bool) -> Callable[..., Any]:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._inside(context):
                return behavior(requests if request_streaming else self._one(requests, context), context)

        return answer

    def _one(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        with deadline(context, self._silence_s):
            return next(requests)

    @contextmanager
    def _inside(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Count the call among its caller's."""
        with answering(context, self._role):
            caller = self._identify(context)
            self._enter(caller)
        try:
            yield
        finally:
            with self._lock:
                self._calls[caller] -= 1
                if not self._calls[caller]:
                    del self._calls[caller]

    def _enter(self, caller: object) -> None:
        with self._lock:
            if self._calls[caller] >= self._most:
                raise Overloaded(
                    f"{self._calls[caller]} calls of one caller at once",
                    expected=f"at most {self._most}",
                    remedy="Let calls end before others begin; the SDK does.",
                )
            self._calls[caller] += 1
