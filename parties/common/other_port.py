"""What a port answers to calls that belong to another port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import grpc

from mpcvit.errors import ConfigError
from mpcvit.wire.status import abort

_PACKAGES = ("mpcvit.v1", "inference")
#: By service: an article, what its port is called, and the key of its address in the configuration of the role.
_PORTS = {
    "InferenceService": ("a", "client port", "listen.client"),
    "GRPCInferenceService": ("a", "client port", "listen.client"),
    "PeerService": ("a", "peer port", "listen.peer"),
    "DealerService": ("a", "port of the dealer", "listen.party"),
    "AdminService": ("an", "admin port", "listen.admin"),
}


class OtherPort(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no annotations
    """Tells callers of another service of ours that they have the wrong port; gRPC would say 'unknown method'.

    Args:
        role: whose port this is, e.g. ``party0``.
        service: what is served here, e.g. ``PeerService``.
    """

    def __init__(self, role: str, service: str) -> None:
        self._role, self._service = role, service

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return a handler that refuses, for services of ours that have another port; else None."""
        package, _, wanted = handler_call_details.method.strip("/").partition("/")[0].rpartition(".")
        if package not in _PACKAGES or _PORTS.get(wanted) in (None, _PORTS[self._service]):
            return None
        return grpc.stream_stream_rpc_method_handler(self._refuse(wanted))

    def _refuse(self, wanted: str) -> Callable[[Any, grpc.ServicerContext], NoReturn]:
        own, (article, right, key) = _PORTS[self._service][1], _PORTS[wanted]

        def refuse(requests: Any, context: grpc.ServicerContext) -> NoReturn:
            abort(
                context,
                ConfigError(
                    f"a call for {article} {right} at the {own} of {self._role}",
                    expected=f"the address of {article} {right}",
                    remedy=f"Correct the port in your configuration: '{key}' of the role that is to be called.",
                    origin=self._role,
                ),
            )

        return refuse
