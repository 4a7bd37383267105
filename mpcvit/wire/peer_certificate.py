"""What the certificate at the other end of a connection says, beyond what the handshake checked."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mpcvit.errors import NotAuthenticated

#: Roles, and the SHA-256 digests (64 hex digits, lower case) of the public keys that their certificates may have.
Pins = Mapping[str, Sequence[str]]
NO_PINS: Pins = {}


@dataclass(frozen=True)
class PeerCertificate:
    """The facts that are checked with every call.

    Attributes:
        expires: when it ends.
        spki_sha256: digest of its SubjectPublicKeyInfo, 64 hex digits.
    """

    expires: datetime.datetime
    spki_sha256: str

    def check_dates(self, whose: str) -> None:
        """Make sure that the certificate is still valid: a connection may live longer than it.

        Raises:
            NotAuthenticated: it has expired.
        """
        if datetime.datetime.now(datetime.UTC) > self.expires:
            raise NotAuthenticated(
                f"{whose}, which expired on {self.expires:%Y-%m-%d %H:%M} UTC",
                expected="a certificate that is valid now",
                remedy="Put a new certificate into the caller's files; running processes read it by themselves.",
            )

    def check_pin(self, role: str, pins: Pins) -> None:
        """Make sure that the certificate has the key that is pinned for ``role``, if one is.

        Raises:
            NotAuthenticated: it has another key, whoever signed it.
        """
        if role in pins and self.spki_sha256 not in pins[role]:
            raise NotAuthenticated(
                f"a certificate for {role} with the key {self.spki_sha256[:16]}..",
                expected=f"the pinned key {' or '.join(pin[:16] + '..' for pin in pins[role])}",
                remedy="Ask the owner of that role whether its key is new; if so, correct 'tls.spki_sha256'. "
                "If not, somebody else has a certificate in its name.",
            )


@lru_cache(maxsize=256)
def peer_certificate(pem: bytes) -> PeerCertificate:
    """Return what the first certificate in ``pem`` says, which a handshake has accepted.

    Raises:
        ValueError: it is no certificate.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    return PeerCertificate(certificate.not_valid_after_utc, spki_sha256(certificate))


def spki_sha256(certificate: x509.Certificate) -> str:
    """Return the digest by which a key is pinned: SHA-256 of the SubjectPublicKeyInfo, 64 hex digits."""
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(certificate.public_key().public_bytes(*form)).hexdigest()
