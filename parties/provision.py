"""Certificates for a local deployment: one authority, one certificate per role.

For a demo or a test bed, where one operator owns all roles. In production each organisation makes its own key and
sends a request to an authority that all trust; the files have the same names.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mpcvit.errors import ConfigError
from mpcvit.wire.tls import SUFFIX

_VALID = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(hours=1)


def provision_local(folder: Path, roles: Sequence[str], now: datetime.datetime | None = None) -> None:
    """Write ``ca.crt`` and, per role, ``<role>.crt`` and ``<role>.key`` (mode 0600). The authority's key is not kept.

    Args:
        roles: e.g. ``party0``, ``dealer``, ``demo.client``; each becomes the DNS name ``<role>.mpcvit``.
        now: start of validity; for tests of expired certificates.

    Raises:
        ConfigError: the folder holds an authority already; a new one would cut off whoever trusts it.
    """
    if (folder / "ca.crt").exists():
        raise ConfigError(
            f"{folder}, which has certificates already",
            expected="a new folder",
            remedy="Give another folder, or delete this one if nobody uses its certificates.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    start = (now or datetime.datetime.now(datetime.UTC)) - _SKEW
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = (
        _builder("mpcvit local authority", "mpcvit local authority", authority_key, start)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for role in roles:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(role + SUFFIX), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        certificate = (
            _builder(role, "mpcvit local authority", key, start)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        (folder / f"{role}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(folder / f"{role}.key", key)


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, start: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _VALID)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
