"""Why a TLS connection fails: gRPC shows every cause as UNAVAILABLE, a plain handshake tells them apart."""

from __future__ import annotations

import socket
import ssl

from mpcvit.errors import MpcvitError, NotAuthenticated, PeerLost
from mpcvit.wire.tls import SUFFIX, TlsFiles

_TIMEOUT_S = 3.0


def probe(address: str, files: TlsFiles, role: str) -> MpcvitError | None:
    """What is wrong with a TLS connection to ``role`` at ``address``; None if the handshake succeeds."""
    host, _, port = address.rpartition(":")
    try:
        files.read()
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.cert, files.key)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=role + SUFFIX) as secure,
        ):
            return None if _accepted(secure) else _refused(role, address, "connection closed")
    except MpcvitError as error:
        return error
    except ssl.SSLCertVerificationError as error:
        return NotAuthenticated(
            f"{role} at {address}: {error.verify_message}",
            expected=f"a valid certificate for {role}{SUFFIX} from our authority",
            remedy="Check that both sides have the same ca.crt, that the address belongs to this role, and the dates.",
        )
    except ssl.SSLError as error:
        return _refused(role, address, error.reason or type(error).__name__)
    except (OSError, ValueError) as error:
        return PeerLost(
            f"{type(error).__name__} connecting to {role} at {address}",
            expected="a listening server",
            remedy=f"Start {role}, or correct its address in the configuration.",
        )


def _accepted(secure: ssl.SSLSocket) -> bool:
    """Whether the server keeps the connection.

    With TLS 1.3 it refuses our certificate only after our side of the handshake is done: an accepting gRPC server then
    sends its HTTP/2 settings, a refusing one an alert or nothing.
    """
    try:
        return bool(secure.recv(1))
    except ConnectionError:
        return False


def _refused(role: str, address: str, reason: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"{role} at {address} refused the handshake: {reason}",
        expected="a server that accepts our certificate",
        remedy="Check that our certificate is from the server's authority and not expired.",
    )
