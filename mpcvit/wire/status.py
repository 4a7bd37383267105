"""Errors over gRPC: a status code with a standard ``google.rpc.ErrorInfo``, and back to the same exception class."""

from __future__ import annotations

from typing import NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from mpcvit.errors import MpcvitError, NotAllowed, PeerLost, PeerTimeout, VersionSkew, by_reason

DOMAIN = "mpcvit"


def abort(context: grpc.ServicerContext, error: MpcvitError) -> NoReturn:
    """End the RPC of ``context`` with ``error``."""
    detail = any_pb2.Any()
    detail.Pack(
        error_details_pb2.ErrorInfo(
            reason=error.reason,
            domain=DOMAIN,
            metadata={
                "got": error.got,
                "expected": error.expected,
                "remedy": error.remedy,
                "origin": error.origin,
            },
        )
    )
    code = grpc.StatusCode[error.status]
    status = status_pb2.Status(code=code.value[0], message=str(error), details=[detail])
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status raises")


def from_rpc_error(error: grpc.RpcError, origin: str) -> MpcvitError:
    """The exception that an RPC to ``origin`` (a role) ended with.

    Errors that carry no ErrorInfo come from gRPC itself. UNAVAILABLE is :class:`PeerLost`: gRPC says no more, whether
    nobody listens, the handshake failed or the peer died; :mod:`mpcvit.wire.tls_probe` can tell.
    """
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
            fields = info.metadata
            return by_reason(info.reason)(
                fields["got"], expected=fields["expected"], remedy=fields["remedy"], origin=fields["origin"] or origin
            )
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return PeerTimeout(
            "no answer before the deadline",
            expected="an answer",
            remedy=f"Check that {origin} is not overloaded, or allow more time.",
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


def _short(details: str | None) -> str:
    return (details or "no details").splitlines()[0][:200]
