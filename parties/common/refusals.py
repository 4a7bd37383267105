"""Calls that were refused, for the audit log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from mpcvit.errors import MpcvitError
from mpcvit.wire.status import refusal_reason
from mpcvit.wire.tls import caller_role
from parties.common.around_calls import AroundCalls
from parties.common.audit import AuditLog

#: The host in what gRPC calls a peer.
_ADDRESS = re.compile(r"ipv[46]:(.*):\d+")


class Refusals(AroundCalls):
    """An interceptor that tells ``audit`` of every call that ends in one of our errors, and whose it was.

    It stands outside a :class:`~parties.common.door.Door`, behind which every request is a stream. How a session ended
    is not a refused call: the audit log has a line of its own for that.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    @contextmanager
    def around(
        self, method: str, requests: Iterator[Any], context: grpc.ServicerContext, *, streams: bool
    ) -> Iterator[Any]:
        """Tell of the call if it is refused."""
        try:
            yield requests
        except Exception:
            if (reason := refusal_reason(context)) is not None:
                self._audit.refused(_caller(context), _host(context), method, reason)
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
