"""One role, as its operator sees it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import grpc

from mpcvit.errors import MpcvitError, PeerLost
from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.role_channel import RoleChannel
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import admin_pb2, admin_pb2_grpc

_CALL_S = 5.0
_LOAD_S = 120.0


class RoleAdmin:
    """A connection to the admin port of a party or a dealer. Use as a context manager.

    Args:
        address: ``host:port`` of its ``listen.admin``.
        files: the operator's TLS files.
        role: the role that its certificate must have, e.g. ``party0``.

    Raises:
        ConfigError, NotAuthenticated: the own files cannot be used.
    """

    def __init__(self, address: str, files: TlsFiles, role: str) -> None:
        self._address, self._files, self._role = address, files, role
        self._channel = RoleChannel(address, OwnIdentity(files), role)
        self._stub = admin_pb2_grpc.AdminServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._channel.close()

    def status(self) -> admin_pb2.GetStatusResponse:
        """Return what the role does and holds.

        Raises:
            MpcvitError: it cannot be asked.
        """
        try:
            answer: admin_pb2.GetStatusResponse = self._stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=_CALL_S)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return answer

    def load(self, folder: str) -> admin_pb2.ModelStatus:
        """Let the role load a folder below its ``load_from``.

        Raises:
            MpcvitError: it cannot, or it cannot be asked.
        """
        try:
            answer = self._stub.LoadModel(admin_pb2.LoadModelRequest(folder=folder), timeout=_LOAD_S)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        model: admin_pb2.ModelStatus = answer.model
        return model

    def activate(self, name: str, version: str) -> None:
        """Let the role give new sessions to a version.

        Raises:
            MpcvitError: the version is not ready for them, or the role cannot be asked.
        """
        try:
            self._stub.ActivateModel(admin_pb2.ActivateModelRequest(name=name, version=version), timeout=_CALL_S)
        except grpc.RpcError as error:
            raise self._explain(error) from error

    def drain(self) -> admin_pb2.DrainResponse:
        """Let the role take no new sessions, end those that run, and stop. Returns at once.

        Raises:
            MpcvitError: it cannot be asked.
        """
        try:
            answer: admin_pb2.DrainResponse = self._stub.Drain(admin_pb2.DrainRequest(), timeout=_CALL_S)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        return answer

    def _explain(self, error: grpc.RpcError) -> MpcvitError:
        """Return the typed error; if gRPC only says that the role is unavailable, what a plain handshake finds out."""
        known = from_rpc_error(error, self._role)
        if error.code() is grpc.StatusCode.UNAVAILABLE and type(known) is PeerLost:
            return probe(self._address, self._files, self._role) or known
        return known
