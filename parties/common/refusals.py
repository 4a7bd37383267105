"""Calls that were refused, for the audit log."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from mpcvit.errors import MpcvitError
from mpcvit.wire.status import refusal_reason
from mpcvit.wire.tls import caller_role
from parties.common.audit import AuditLog

#: The host in what gRPC calls a peer.
_ADDRESS = re.compile(r"ipv[46]:(.*):\d+")


class Refusals(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no annotations
    """An interceptor that tells ``audit`` of every call that ends in one of our errors, and whose it was.

    It stands outside a :class:`~parties.common.door.Door`, behind which every request is a stream. How a session ended
    is not a refused call: the audit log has a line of its own for that.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Return the handler that ``continuation`` finds, watched."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        call = handler_call_details.method.rsplit("/", 1)[-1]
        serializers = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(call, handler.stream_stream), **serializers)
        return grpc.stream_unary_rpc_method_handler(self._unary(call, handler.stream_unary), **serializers)

    def _streaming(self, call: str, behavior: Callable[..., Any]) -> Callable[..., Any]:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._watched(call, context):
                yield from behavior(requests, context)

        return answer

    def _unary(self, call: str, behavior: Callable[..., Any]) -> Callable[..., Any]:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._watched(call, context):
                return behavior(requests, context)

        return answer

    @contextmanager
    def _watched(self, call: str, context: grpc.ServicerContext) -> Iterator[None]:
        try:
            yield
        except Exception:
            if (reason := refusal_reason(context)) is not None:
                self._audit.refused(_caller(context), _host(context), call, reason)
            raise


def _caller(context: grpc.ServicerContext) -> str:
    """Return the role in the caller's certificate; empty if there is none that we understand."""
    try:
        return caller_role(context)
    except MpcvitError:
        return ""


def _host(context: grpc.ServicerContext) -> str:
    match = _ADDRESS.fullmatch(context.peer())
    return match[1] if match else ""
