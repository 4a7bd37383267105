"""Errors over gRPC: a status code with standard details, and back to the same exception class.

The details are ``google.rpc.ErrorInfo``, and ``google.rpc.RetryInfo`` where a new session may help.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from mpcvit.errors import MpcvitError, NotAllowed, Overloaded, PeerLost, PeerTimeout, VersionSkew, by_reason

Detail = TypeVar("Detail", bound=Message)
DOMAIN = "mpcvit"
#: How a gRPC server says that it has more calls than it may, before any service sees one.
_TOO_MANY_CALLS = "Concurrent RPC limit exceeded"
#: Letters of each part of an error. gRPC drops errors beyond 8 KiB in all, and then nobody hears the reason.
_LONGEST = 800
#: Names in ErrorInfo's metadata, and the attributes of the error that they carry.
_FIELDS = {
    "got": "got",
    "expected": "expected",
    "remedy": "remedy",
    "role": "origin",
    "session_id": "session_id",
    "phase": "phase",
}


def abort(context: grpc.ServicerContext, error: MpcvitError) -> NoReturn:
    """End the RPC of ``context`` with ``error``."""
    fields = {name: _plain(getattr(error, attribute)) for name, attribute in _FIELDS.items()}
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=fields)]
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(1000 * error.retry_after_s))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    code = grpc.StatusCode[error.status]
    status = status_pb2.Status(code=code.value[0], message=_plain(str(error)))
    for detail in details:
        status.details.add().Pack(detail)
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status raises")


def refusal_reason(context: grpc.ServicerContext) -> str | None:
    """Return the reason with which :func:`abort` ended the RPC of ``context``; None for a session's own failure."""
    metadata = dict(context.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata.get(rpc_status.GRPC_DETAILS_METADATA_KEY, b""))
    info = error_details_pb2.ErrorInfo()
    if not any(detail.Unpack(info) for detail in status.details) or info.metadata.get("session_id"):
        return None
    return str(info.reason)


def from_rpc_error(error: grpc.RpcError, origin: str) -> MpcvitError:
    """Return the exception that an RPC to ``origin`` (a role) ended with.

    Errors that carry no ErrorInfo come from gRPC itself. UNAVAILABLE is :class:`PeerLost`: gRPC says no more, whether
    nobody listens, the handshake failed or the peer died; :mod:`mpcvit.wire.tls_probe` can tell.
    """
    if (typed := _typed(error, origin)) is not None:
        return typed
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return PeerTimeout(
            "no answer before the deadline",
            expected="an answer",
            remedy=f"Check that {origin} is not overloaded, or allow more time.",
            origin=origin,
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_MANY_CALLS in (error.details() or ""):
        return Overloaded(
            "too many calls at once",
            expected="fewer",
            remedy=f"Retry later; see the limits of {origin}.",
            origin=origin,
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return VersionSkew(
            "an unknown method",
            expected="the services of mpcvit.v1",
            remedy=f"Run the same version of mpcvit here and at {origin}.",
            origin=origin,
        )
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return NotAllowed(
            "a refused call", expected="a role that may call it", remedy="Use the right certificate.", origin=origin
        )
    return PeerLost(
        f"{code.name}: {_short(error.details())}",
        expected="a live connection",
        remedy=f"Check that {origin} runs, and 'mpcvit diagnose' for TLS trouble.",
        origin=origin,
    )


def _typed(error: grpc.RpcError, origin: str) -> MpcvitError | None:
    """Return the error that :func:`abort` sent, if it was that which ended the call."""
    try:
        status = rpc_status.from_call(error)
        details = list(status.details) if status is not None else []
        info = _unpacked(details, error_details_pb2.ErrorInfo())
        retry = _unpacked(details, error_details_pb2.RetryInfo())
    except (ValueError, DecodeError):  # a status that contradicts the call's, or details that are no messages
        return None
    if info is None or info.domain != DOMAIN:
        return None
    fields = {attribute: _plain(info.metadata[name]) for name, attribute in _FIELDS.items()}
    return by_reason(info.reason)(
        fields.pop("got"),
        **{**fields, "origin": fields["origin"] or origin},
        retry_after_s=None if retry is None else retry.retry_delay.ToMilliseconds() / 1000,
    )


def _unpacked(details: Iterable[any_pb2.Any], message: Detail) -> Detail | None:
    """Return ``message`` as filled from the first of ``details`` of its kind."""
    return next((message for detail in details if detail.Unpack(message)), None)


def _plain(text: str) -> str:
    """Return ``text`` as it may travel: headers are small, and what a caller sent may hold anything."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
    return printable + (" .." if len(text) > _LONGEST else "")


def _short(details: str | None) -> str:
    return (details or "no details").splitlines()[0][:200]
