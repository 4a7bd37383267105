"""Why a TLS connection fails: gRPC shows every cause as UNAVAILABLE, a plain handshake tells them apart."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from mpcvit.errors import MpcvitError, NotAuthenticated, PeerLost
from mpcvit.wire.own_certificate import SUFFIX
from mpcvit.wire.peer_certificate import peer_certificate
from mpcvit.wire.tls import TlsFiles

_TIMEOUT_S = 3.0
#: What OpenSSL calls an answer that is not TLS.
_NO_TLS = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNEXPECTED_MESSAGE",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
}


def probe(address: str, files: TlsFiles, role: str, timeout_s: float = _TIMEOUT_S) -> MpcvitError | None:
    """Return what is wrong with a TLS connection to ``role`` at ``address``; None if the handshake succeeds.

    Args:
        timeout_s: seconds that connecting, and each answer, may take.
    """
    try:
        verified_certificate(address, files, role, timeout_s)
    except MpcvitError as error:
        return error
    return None


def verified_certificate(address: str, files: TlsFiles, role: str, timeout_s: float = _TIMEOUT_S) -> bytes:
    """Return the PEM certificate that the server at ``address`` has shown: valid, ``role``'s, and of the pinned key.

    Raises:
        ConfigError, NotAuthenticated: our own files cannot be used.
        NotAuthenticated: the server's certificate is another one, or it refuses ours.
        PeerLost: nobody listens.
    """
    try:
        files.read()
        with _handshake(address, files, role, timeout_s) as secure:
            pem = ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"").encode()
            peer_certificate(pem).check_pin(role, files.pins)
            if not _accepted(secure):
                raise _refused(role, address, "connection closed")
            return pem
    except ssl.SSLCertVerificationError as error:
        there = _names(address, files, timeout_s)
        raise NotAuthenticated(
            f"{role} at {address}: {error.verify_message.rstrip('.')}{there and f'; it is for {there}'}",
            expected=f"a valid certificate for {role}{SUFFIX} from our authority",
            remedy="Check that both sides have the same ca.crt, that the address belongs to this role, and the dates.",
        ) from error
    except ssl.SSLError as error:
        if error.reason in _NO_TLS:
            raise NotAuthenticated(
                f"a server at {address} that does not speak TLS ({error.reason})",
                expected=f"{role} with mutual TLS",
                remedy="Correct the address: this port is another program's, or one for health checks.",
            ) from error
        raise _refused(role, address, error.reason or type(error).__name__) from error
    except (OSError, ValueError) as error:
        raise _unreachable(role, address, error, timeout_s) from error


@contextmanager
def _handshake(address: str, files: TlsFiles, role: str, timeout_s: float) -> Iterator[ssl.SSLSocket]:
    """Yield a TLS connection; the certificate may name any role if ``role`` is empty."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(files.ca))
    context.check_hostname = bool(role)
    if files.cert is not None:
        context.load_cert_chain(files.cert, files.key)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s) as raw,
        context.wrap_socket(raw, server_hostname=role + SUFFIX if role else None) as secure,
    ):
        yield secure


def _names(address: str, files: TlsFiles, timeout_s: float) -> str:
    """Return the DNS names in the certificate of the server at ``address``; empty if it is from another authority."""
    try:
        with _handshake(address, files, "", timeout_s) as secure:
            names = (secure.getpeercert() or {}).get("subjectAltName", ())
            return ", ".join(str(name[1]) for name in names if name[0] == "DNS")
    except OSError:
        return ""


def _accepted(secure: ssl.SSLSocket) -> bool:
    """Return whether the server keeps the connection.

    With TLS 1.3 it refuses our certificate only after our side of the handshake is done: an accepting gRPC server then
    sends its HTTP/2 settings, a refusing one an alert or nothing.
    """
    try:
        return bool(secure.recv(1))
    except ConnectionError:
        return False


def _unreachable(role: str, address: str, error: Exception, timeout_s: float) -> PeerLost:
    if isinstance(error, socket.gaierror):
        why, remedy = "no host of this name is known", "Correct the name, or this machine's name service."
    elif isinstance(error, ConnectionRefusedError):
        why, remedy = "nobody listens there", f"Start {role}, or correct its address in the configuration."
    elif isinstance(error, TimeoutError):
        why = f"no answer within {timeout_s:g} s"
        remedy = f"Correct the address of {role}, open the firewall between, or look whether {role} is stopped."
    else:
        why = getattr(error, "strerror", None) or type(error).__name__
        remedy = f"Look at {role} and at the network between."
    return PeerLost(f"no connection to {role} at {address}: {why}", expected="a listening server", remedy=remedy)


def _refused(role: str, address: str, reason: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"{role} at {address} refused the handshake: {reason}",
        expected="a server that accepts our certificate",
        remedy="Check that our certificate is from the server's authority and not expired.",
    )
