"""Binding a server to an address that nobody else listens on."""

from __future__ import annotations

import errno
import socket

import grpc

from mpcvit.errors import ConfigError
from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.tls import server_credentials


def listen(server: grpc.Server, address: str, own: OwnIdentity | None, *, ask_callers: bool = True) -> None:
    """Make ``server`` listen on ``address``, ``host:port``.

    Args:
        own: the server's certificate; None for no TLS (health only).
        ask_callers: whether callers must have a certificate, too.

    Raises:
        ConfigError: the address cannot be bound, or a TLS file cannot be used.
        NotAuthenticated: the own certificate is not valid now, or from another authority.
    """
    credentials = None if own is None else server_credentials(own.value, ask_callers=ask_callers)
    check_free(address)
    try:
        bound = (
            server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
        )
    except RuntimeError:
        bound = 0
    if not bound:
        raise _refused(address, "it cannot be bound")


def check_free(address: str) -> None:
    """Bind ``address`` and let it go again.

    gRPC is content with one of the addresses that a name stands for: of ``localhost``, another process may have IPv4.

    Raises:
        ConfigError: somebody listens there, or it is no address of this machine.
    """
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError, OverflowError) as error:
        raise _refused(address, getattr(error, "strerror", None) or str(error)) from error
    for family, kind, protocol, _, target in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(
                    socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
                )  # connections of a stopped server may linger
                probe.bind(target)
                probe.listen()
        except OSError as error:
            # a machine without IPv6 may still have an IPv6 address for the name
            if len(found) == 1 or error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise _refused(address, error.strerror or str(error)) from error


def _refused(address: str, why: str) -> ConfigError:
    return ConfigError(
        f"address {address}: {why}",
        expected="a free local host:port",
        remedy="Stop the other process on that port, or change 'listen' in the configuration.",
    )
