"""What an operator calls at a party or a dealer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import grpc

from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.peer_certificate import NO_PINS, Pins
from mpcvit.wire.tls import caller_role, require_admin
from mpcvit.wire.v1 import admin_pb2, admin_pb2_grpc
from parties.common.audit import AuditLog
from parties.common.failure import answering
from parties.common.listen import listen
from parties.common.model_loader import ModelLoader
from parties.common.other_port import OtherPort
from parties.common.server import make_server

#: Calls that one operator may have open.
_CALLS = 8

log = logging.getLogger("mpcvit.admin")


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """The gRPC face of a process towards its operator.

    Args:
        role: who answers, e.g. ``party0``.
        status: says how the process is.
        drain: begins to stop it, and says what may still end.
        models: loads models, and chooses among versions.
        pins: keys that operators' certificates must have.
    """

    def __init__(
        self,
        role: str,
        status: Callable[[], admin_pb2.GetStatusResponse],
        drain: Callable[[], admin_pb2.DrainResponse],
        models: ModelLoader,
        pins: Pins = NO_PINS,
    ) -> None:
        self.role, self._status, self._drain, self._models, self._pins = role, status, drain, models, pins

    def GetStatus(  # noqa: N802
        self, request: admin_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> admin_pb2.GetStatusResponse:
        """Say how the process is."""
        with answering(context, self.role):
            require_admin(context, self._pins)
            return self._status()

    def ListLoadedModels(  # noqa: N802
        self, request: admin_pb2.ListLoadedModelsRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ListLoadedModelsResponse:
        """List what is loaded."""
        with answering(context, self.role):
            require_admin(context, self._pins)
            return admin_pb2.ListLoadedModelsResponse(models=self._status().models)

    def LoadModel(  # noqa: N802
        self, request: admin_pb2.LoadModelRequest, context: grpc.ServicerContext
    ) -> admin_pb2.LoadModelResponse:
        """Load a model, or another version of one."""
        with answering(context, self.role):
            operator = require_admin(context, self._pins)
            log.info("%s loads %r", operator, request.folder, extra={"operator": operator})
            return admin_pb2.LoadModelResponse(model=self._models.load(request.folder))

    def ActivateModel(  # noqa: N802
        self, request: admin_pb2.ActivateModelRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ActivateModelResponse:
        """Give new sessions to a version."""
        with answering(context, self.role):
            operator = require_admin(context, self._pins)
            what = f"{request.name}:{request.version}"
            log.info("%s activates %r", operator, what, extra={"operator": operator})
            self._models.activate(request.name, request.version)
            return admin_pb2.ActivateModelResponse(models=self._status().models)

    def Drain(  # noqa: N802
        self, request: admin_pb2.DrainRequest, context: grpc.ServicerContext
    ) -> admin_pb2.DrainResponse:
        """Stop the process in order."""
        with answering(context, self.role):
            operator = require_admin(context, self._pins)
            log.info("%s lets %s drain", operator, self.role, extra={"operator": operator})
            return self._drain()


def admin_servers(service: AdminService, address: str | None, own: OwnIdentity, audit: AuditLog) -> list[grpc.Server]:
    """Return the server of the admin port, which listens already; none without an ``address``.

    Raises:
        ConfigError: the address cannot be bound, or a TLS file cannot be used.
    """
    if address is None:
        return []
    server = make_server(service.role, _CALLS, partial(caller_role, pins=own.files.pins), audit)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(service, server)
    server.add_generic_rpc_handlers([OtherPort(service.role, "AdminService")])
    listen(server, address, own)
    return [server]
