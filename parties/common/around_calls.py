"""Interceptors that do something before and after every call of a server, whatever kind of call it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import grpc


class AroundCalls(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no annotations
    """An interceptor that runs :meth:`around` around each call.

    Towards gRPC every request is a stream from here on, so :meth:`around` begins before the request is there.
    """

    @abstractmethod
    def around(
        self, method: str, requests: Iterator[Any], context: grpc.ServicerContext, *, streams: bool
    ) -> AbstractContextManager[Any]:
        """Return a context manager that yields what the service is to get.

        Args:
            method: the name of the call, without its service.
            streams: whether the service gets a stream; else it gets the one message.
        """

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Return the handler that ``continuation`` finds, with :meth:`around` around it."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method, streams = handler_call_details.method.rsplit("/", 1)[-1], handler.request_streaming

        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            behavior = handler.stream_unary or handler.unary_unary
            with self.around(method, requests, context, streams=streams) as request:
                return behavior(request, context)

        def answer_each(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            behavior = handler.stream_stream or handler.unary_stream
            with self.around(method, requests, context, streams=streams) as request:
                yield from behavior(request, context)

        serializers = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(answer_each, **serializers)
        return grpc.stream_unary_rpc_method_handler(answer, **serializers)
