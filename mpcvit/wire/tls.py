"""Mutual TLS: who one is, what servers show and ask for, and the role of whoever calls.

A role is a DNS name in the certificate: ``party0.mpcvit``, ``dealer.mpcvit``, ``alice.client.mpcvit``. Clients of a
channel name the role that they expect at the other end, so an address may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import grpc

from mpcvit.errors import ConfigError, NotAllowed, NotAuthenticated
from mpcvit.wire.own_certificate import SUFFIX, check_authorities, check_own_files, own_role, the_role
from mpcvit.wire.peer_certificate import NO_PINS, Pins, peer_certificate

CLIENT_SUFFIX = ".client"
ADMIN_SUFFIX = ".admin"
_PARTY = re.compile(r"party(0|[1-9][0-9]*)")


def _liveness(ping_timeout_s: float) -> list[tuple[str, int]]:
    """Return gRPC's options for a ping every three seconds, answered within so many.

    Keepalive alone takes a minute to notice a stalled peer: gRPC also waits for its ping timer. A ping queues behind
    the data of its connection, so on one that carries much over a slow link it may take long.
    """
    return [
        ("grpc.keepalive_time_ms", 3_000),
        ("grpc.keepalive_timeout_ms", int(1000 * ping_timeout_s)),
        ("grpc.http2.ping_timeout_ms", int(1000 * ping_timeout_s)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ]


_MESSAGE_BYTES = 4 << 20
_COMMON = [
    ("grpc.enable_http_proxy", 0),  # roles dial each other; a proxy of the environment's is for browsers
    ("grpc.so_reuseport", 0),  # a second process on a port must fail, not share it
    (
        "grpc.max_connection_age_ms",
        3_600_000,
    ),  # then certificates are looked at again; calls that run end as they would
    (
        "grpc.min_reconnect_backoff_ms",
        3_500,
    ),  # how long one attempt may take: a stopped process accepts, then is silent
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
]
#: For connections that carry material, weights and rounds; parties' monitors notice a stalled process sooner.
OPTIONS = [*_liveness(30), *_COMMON]
#: For connections that carry little.
PROMPT_OPTIONS = [*_liveness(4), *_COMMON]


class Pem(NamedTuple):
    """What TLS files hold; neither key nor certificate for a client that shows a token instead."""

    ca: bytes
    key: bytes | None
    cert: bytes | None


@dataclass(frozen=True)
class TlsFiles:
    """Where one role's PEM files are, and whose keys it pins.

    Attributes:
        ca: the authority's certificate.
        cert, key: its own certificate and private key; None for a client that shows a token instead.
        pins: the keys that other roles must have.
        reload_s: seconds after which a running process looks whether the files have changed.
    """

    ca: Path
    cert: Path | None
    key: Path | None
    pins: Pins = field(default_factory=dict)
    reload_s: float = 60.0

    def read(self) -> Pem:
        """Return what the files hold, which belongs together and is valid now.

        Raises:
            ConfigError: a file cannot be read or is not PEM, or the key belongs to another certificate.
            NotAuthenticated: the certificate is expired, not valid yet, or from another authority.
        """
        if self.cert is None or self.key is None:
            return Pem(check_authorities(self.ca), None, None)
        return Pem(*check_own_files(self.ca, self.cert, self.key))

    def role(self) -> str | None:
        """Return the role that the certificate names; None without one.

        Raises:
            ConfigError: the certificate cannot be read.
            NotAuthenticated: it names no role, or several.
        """
        return None if self.cert is None else own_role(self.cert)

    def require_role(self, role: str) -> None:
        """Make sure that the certificate is one of ``role``; ``.client`` and ``.admin`` stand for all of their kind.

        Raises:
            ConfigError: the certificate cannot be read.
            NotAuthenticated: it is another role's, or there is none.
        """
        found = self.role()
        kind = role in (CLIENT_SUFFIX, ADMIN_SUFFIX)
        if found is None or not (found.endswith(role) if kind else found == role):
            wanted = f"<name>{role}" if kind else role
            raise NotAuthenticated(
                "no certificate" if found is None else f"our certificate in {self.cert}, which is for the role {found}",
                expected=f"a certificate for {wanted}{SUFFIX}",
                remedy="Correct 'cert' and 'key' under 'tls'; every role has its own.",
            )

    @classmethod
    def in_folder(cls, folder: Path, role: str) -> TlsFiles:
        """Return the files that ``mpcvit provision`` writes for ``role``."""
        return cls(folder / "ca.crt", folder / f"{role}.crt", folder / f"{role}.key")


def server_credentials(own: Callable[[], Pem], *, ask_callers: bool = True) -> grpc.ServerCredentials:
    """Return credentials of a server, which follow the files behind ``own`` with every new connection.

    Args:
        own: authority, key and certificate as they are now; the same object for as long as they do not change.
        ask_callers: whether callers must have a certificate of the same authority. Without, anybody may connect.
    """
    current = own()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal current
        if (latest := own()) is current:
            return None
        current = latest
        return _server_certificate(latest, ask_callers)

    first = _server_certificate(current, ask_callers)
    return grpc.dynamic_ssl_server_credentials(first, changed, require_client_authentication=ask_callers)


def _server_certificate(pem: Pem, ask_callers: bool) -> grpc.ServerCertificateConfiguration:
    if pem.key is None or pem.cert is None:
        raise ConfigError(
            "no certificate", expected="one for every server", remedy="Give 'cert' and 'key' under 'tls'."
        )
    roots = pem.ca if ask_callers else None
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], root_certificates=roots)


def caller_role(context: grpc.ServicerContext, pins: Pins = NO_PINS) -> str:
    """Return the role in the caller's certificate, e.g. ``party1`` or ``alice.client``.

    The handshake has checked the signature. Dates are checked again with every call, as connections live long.

    Raises:
        NotAuthenticated: the certificate names no role, or several; it has expired; or its role has another key pinned.
    """
    facts = context.auth_context()
    # DNS names alone: whoever may put an e-mail address or a URI into a certificate is not thereby a party
    role = the_role([name.decode(errors="replace") for name in facts.get("peer_dns", [])], "the caller's certificate")
    certificate = peer_certificate(facts["x509_pem_cert"][0])
    certificate.check_dates("the caller's certificate")
    certificate.check_pin(role, pins)
    return role


def require_client(context: grpc.ServicerContext, pins: Pins = NO_PINS) -> str:
    """Return the caller's identity, if it is a client.

    Raises:
        NotAuthenticated: as for :func:`caller_role`.
        NotAllowed: it has another role.
    """
    role = caller_role(context, pins)
    if not role.removesuffix(CLIENT_SUFFIX) or not role.endswith(CLIENT_SUFFIX):
        raise NotAllowed(
            f"a call by role '{role}'",
            expected="a client certificate",
            remedy="Call this service with a certificate '<name>.client'.",
        )
    return role


def require_admin(context: grpc.ServicerContext, pins: Pins = NO_PINS) -> str:
    """Return the caller's identity, if it is an operator.

    Raises:
        NotAuthenticated: as for :func:`caller_role`.
        NotAllowed: it has another role.
    """
    role = caller_role(context, pins)
    if not role.removesuffix(ADMIN_SUFFIX) or not role.endswith(ADMIN_SUFFIX):
        raise NotAllowed(
            f"a call by role '{role}'",
            expected="an operator's certificate",
            remedy="Call the admin port with a certificate '<name>.admin'.",
        )
    return role


def require_party(context: grpc.ServicerContext, pins: Pins = NO_PINS) -> int:
    """Return the caller's party number, if it is a compute party.

    Raises:
        NotAuthenticated: as for :func:`caller_role`.
        NotAllowed: it has another role.
    """
    role = caller_role(context, pins)
    match = _PARTY.fullmatch(role)
    if match is None:
        raise NotAllowed(
            f"a call by role '{role}'",
            expected="a party certificate",
            remedy="Only compute parties may call this service.",
        )
    return int(match[1])
