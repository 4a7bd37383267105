"""Mutual TLS: who one is, channels to others, and the role of whoever calls.

A role is a DNS name in the certificate: ``party0.mpcvit``, ``dealer.mpcvit``, ``alice.client.mpcvit``. Clients of a
channel name the role that they expect at the other end, so an address may be anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from mpcvit.errors import ConfigError, NotAllowed, NotAuthenticated

SUFFIX = ".mpcvit"
CLIENT_SUFFIX = ".client"

#: A stalled peer must be noticed in seconds. Keepalive alone takes a minute: gRPC also waits for its ping timer.
_LIVENESS = [
    ("grpc.keepalive_time_ms", 3_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
]
_MESSAGE_BYTES = 4 << 20
OPTIONS = [
    *_LIVENESS,
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
]


@dataclass(frozen=True)
class TlsFiles:
    """Where one role's PEM files are: the authority's certificate, its own certificate and its private key."""

    ca: Path
    cert: Path
    key: Path

    def read(self) -> tuple[bytes, bytes, bytes]:
        """(ca, key, certificate).

        Raises:
            ConfigError: a file cannot be read.
        """
        try:
            return self.ca.read_bytes(), self.key.read_bytes(), self.cert.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{type(error).__name__} reading {error.filename}",
                expected="readable PEM files for ca, cert and key",
                remedy="Make them with 'mpcvit provision', or correct the paths under 'tls'.",
            ) from error

    @classmethod
    def in_folder(cls, folder: Path, role: str) -> TlsFiles:
        """The files that ``mpcvit provision`` writes for ``role``."""
        return cls(folder / "ca.crt", folder / f"{role}.crt", folder / f"{role}.key")


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials of a server that asks every caller for a certificate of the same authority."""
    ca, key, cert = files.read()
    return grpc.ssl_server_credentials([(key, cert)], root_certificates=ca, require_client_auth=True)


def secure_channel(address: str, files: TlsFiles, role: str) -> grpc.Channel:
    """A channel to ``address`` on which only a certificate of ``role`` is accepted."""
    ca, key, cert = files.read()
    credentials = grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)
    override = [("grpc.ssl_target_name_override", role + SUFFIX)]
    return grpc.secure_channel(address, credentials, options=[*OPTIONS, *override])


def caller_role(context: grpc.ServicerContext) -> str:
    """The role in the caller's certificate, e.g. ``party1`` or ``alice.client``.

    Raises:
        NotAuthenticated: the certificate names no role, or several.
    """
    names: list[str] = [name.decode() for name in context.auth_context().get("x509_subject_alternative_name", [])]
    roles: list[str] = [name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)]
    if len(roles) != 1:
        raise NotAuthenticated(
            f"a certificate with {len(roles)} roles",
            expected=f"exactly one DNS name that ends in {SUFFIX}",
            remedy="Issue certificates with 'mpcvit provision'.",
        )
    return roles[0]


def require_client(context: grpc.ServicerContext) -> str:
    """The caller's identity, if it is a client.

    Raises:
        NotAllowed: it has another role.
    """
    role = caller_role(context)
    if not role.endswith(CLIENT_SUFFIX):
        raise NotAllowed(
            f"a call by role '{role}'",
            expected="a client certificate",
            remedy="Call this service with a certificate '<name>.client'.",
        )
    return role


def require_party(context: grpc.ServicerContext) -> int:
    """The caller's party number, if it is a compute party.

    Raises:
        NotAllowed: it has another role.
    """
    role = caller_role(context)
    number = role.removeprefix("party")
    if not role.startswith("party") or not number.isdecimal():
        raise NotAllowed(
            f"a call by role '{role}'",
            expected="a party certificate",
            remedy="Only compute parties may call this service.",
        )
    return int(number)
