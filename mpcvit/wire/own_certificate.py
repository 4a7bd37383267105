"""Whether a role's own PEM files can serve it, found out before gRPC reads them.

gRPC answers a wrong file late and badly: an expired certificate is noticed by the others, a key of another certificate
is reported as an address that is not free, and an empty file ends the process.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from mpcvit.errors import ConfigError, NotAuthenticated

#: The end of every DNS name that is a role.
SUFFIX = ".mpcvit"


def check_own_files(ca: Path, cert: Path, key: Path) -> tuple[bytes, bytes, bytes]:
    """Return the content of the files: authority, key, certificate.

    Args:
        ca: certificates of one or more authorities.
        cert: the own certificate, and after it those between it and the authority, if any.
        key: its private key, not encrypted.

    Raises:
        ConfigError: a file cannot be read or is not PEM, or the key belongs to another certificate.
        NotAuthenticated: the certificate is not valid now, or from another authority.
    """
    pem = {path: _read(path) for path in (ca, cert, key)}
    authorities, chain = _certificates(ca, pem[ca]), _certificates(cert, pem[cert])
    _check_key(cert, chain[0], key, pem[key])
    _check_dates(cert, chain[0])
    _check_authority(cert, chain, ca, authorities)
    return pem[ca], pem[key], pem[cert]


def check_authorities(ca: Path) -> bytes:
    """Return the content of ``ca``, for who has no certificate.

    Raises:
        ConfigError: it cannot be read or is not PEM.
    """
    pem = _read(ca)
    _certificates(ca, pem)
    return pem


def own_role(cert: Path) -> str:
    """Return the role that the certificate in ``cert`` names, e.g. ``party0``.

    Raises:
        ConfigError: the file cannot be read or is not PEM.
        NotAuthenticated: the certificate names no role, or several.
    """
    try:
        extension = _certificates(cert, _read(cert))[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    return the_role(names, f"the certificate in {cert}")


def expires(cert: Path) -> datetime.datetime:
    """Return when the certificate in ``cert`` expires.

    Raises:
        ConfigError: the file cannot be read or is not PEM.
    """
    return _certificates(cert, _read(cert))[0].not_valid_after_utc


def the_role(names: Sequence[str], whose: str) -> str:
    """Return the one role among the DNS names of a certificate.

    Args:
        names: its subject alternative names of the kind DNS; e-mail addresses and URIs are no roles.
        whose: what to call the certificate in a message.

    Raises:
        NotAuthenticated: there is none, or there are several.
    """
    roles = [name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)]
    if len(roles) != 1 or "*" in roles[0]:
        raise NotAuthenticated(
            f"{whose}, which names {', '.join(roles) or 'no role'}",
            expected=f"exactly one DNS name that ends in {SUFFIX}, without wildcards",
            remedy="Issue certificates as 'mpcvit provision' does.",
        )
    return roles[0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{type(error).__name__} reading {path}",
            expected="readable PEM files for ca, cert and key",
            remedy="Make them with 'mpcvit provision', or correct the paths under 'tls'.",
        ) from error


def _certificates(path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigError(
            f"{path}, which is {'empty' if not pem.strip() else 'not a PEM certificate'}",
            expected="a file that begins with -----BEGIN CERTIFICATE-----",
            remedy="Correct the path under 'tls', or copy the file again.",
        ) from error


def _check_key(cert: Path, certificate: x509.Certificate, key: Path, pem: bytes) -> None:
    try:
        private = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise ConfigError(
            f"{key}, a key with a password",
            expected="a private key that is not encrypted",
            remedy="Decrypt it ('openssl pkey -in KEY -out NEW'), and let its owner alone read the file.",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{key}, which is {'empty' if not pem.strip() else 'not a PEM private key'}",
            expected="a file that begins with -----BEGIN PRIVATE KEY-----",
            remedy="Correct the path under 'tls', or copy the file again.",
        ) from error
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise ConfigError(
            f"{key}, which is not the key of {cert}",
            expected="a certificate and its own private key",
            remedy="Give the key that the certificate was issued for, under 'tls'.",
        )


def _check_dates(path: Path, certificate: x509.Certificate) -> None:
    now = datetime.datetime.now(datetime.UTC)
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not first <= now <= last:
        when = f"expired on {last:%Y-%m-%d %H:%M}" if now > last else f"is valid only from {first:%Y-%m-%d %H:%M}"
        raise NotAuthenticated(
            f"our certificate in {path}, which {when} UTC",
            expected=f"a certificate that is valid now, {now:%Y-%m-%d %H:%M} UTC",
            remedy="Issue a new certificate, or correct this machine's clock.",
        )


def _check_authority(
    path: Path, chain: Sequence[x509.Certificate], ca: Path, authorities: Sequence[x509.Certificate]
) -> None:
    """Follow signatures from the first certificate of ``chain`` through the others to one of ``authorities``."""
    current, between = chain[0], list(chain[1:])
    while not any(_issued(current, authority) for authority in authorities):
        issuer = next((one for one in between if _issued(current, one)), None)
        if issuer is None:
            raise NotAuthenticated(
                f"our certificate in {path}, which no authority in {ca} signed",
                expected="a certificate from the authority that all roles trust",
                remedy="Correct 'ca' or 'cert' under 'tls'; files of one 'mpcvit provision' run belong together.",
            )
        between.remove(issuer)
        current = issuer


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
