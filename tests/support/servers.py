"""gRPC servers with certificates of roles and stand-ins for their services."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc

from mpcvit.wire.tls import OPTIONS, Pem, server_credentials


class Handlers(list[grpc.GenericRpcHandler]):
    """Takes the place of a server where generated code adds its services."""

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        self.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        """Do nothing: the same once more, by names."""


def pem_of(folder: Path, role: str, ca: Path | None = None) -> Pem:
    """What the files of a role in ``folder`` hold, with another authority if ``ca`` is given; unchecked."""
    files = (ca or folder / "ca.crt", folder / f"{role}.key", folder / f"{role}.crt")
    return Pem(*(path.read_bytes() for path in files))


def start_server(stack: ExitStack, pem: Pem | None, handlers: list[grpc.GenericRpcHandler]) -> str:
    """The address of a new server, without TLS if ``pem`` is None; it ends with ``stack``."""
    server = grpc.server(ThreadPoolExecutor(4), options=OPTIONS)
    server.add_generic_rpc_handlers(handlers)
    if pem is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", server_credentials(lambda: pem))
    server.start()
    stack.callback(lambda: server.stop(0).wait())
    return f"127.0.0.1:{port}"
