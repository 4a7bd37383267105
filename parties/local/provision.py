"""Certificates for a local deployment: one authority, one certificate per role.

For a demo or a test bed, where one operator owns all roles. In production each organisation makes its own key and
sends a request to an authority that all trust; the files have the same names.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mpcvit.errors import ConfigError
from mpcvit.wire.own_certificate import SUFFIX

_VALID = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(hours=1)
_KEY = ".key"
#: Labels of a DNS name. 55 characters leave room for what is behind.
_ROLE = re.compile(r"(?=.{1,55}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


def provision_local(folder: Path, roles: Sequence[str], now: datetime.datetime | None = None) -> None:
    """Write ``ca.crt`` and, per role, ``<role>.crt`` and ``<role>.key`` (mode 0600). The authority's key is not kept.

    Args:
        folder: made if missing. It gets all files or none.
        roles: e.g. ``party0``, ``dealer``, ``demo.client``; each becomes the DNS name ``<role>.mpcvit``.
        now: start of validity; for tests of expired certificates.

    Raises:
        ConfigError: a role is no DNS name or given twice; the folder cannot be written to, or holds certificates
            already: a new authority would cut off whoever trusts the old one.
    """
    _check_roles(roles)
    files = _files(roles, (now or datetime.datetime.now(datetime.UTC)) - _SKEW)
    partial = folder / f".{secrets.token_hex(4)}.partial"
    moved: list[Path] = []
    made = [parent for parent in (folder, *folder.parents) if not os.path.lexists(parent)]
    try:
        if found := [name for name in files if os.path.lexists(folder / name)]:
            raise ConfigError(
                f"{folder}, which has certificates already: {', '.join(found[:3])}{' ..' if found[3:] else ''}",
                expected="a new folder",
                remedy="Give another folder, or delete this one if nobody uses its certificates.",
            )
        partial.mkdir(parents=True)
        for name, pem in files.items():
            _write(partial / name, pem, 0o600 if name.endswith(_KEY) else 0o644)
        for name in files:
            (partial / name).replace(folder / name)
            moved.append(folder / name)
        partial.rmdir()
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        for path in moved:
            path.unlink()
        for parent in made:
            with suppress(OSError):  # there may be somebody else's files in it by now
                parent.rmdir()
        raise ConfigError(
            f"{folder}: {error.strerror}",
            expected="a folder that can be written to, or a name for a new one",
            remedy="Choose another folder, or see to its permissions and to free space.",
        ) from error


def _check_roles(roles: Sequence[str]) -> None:
    wrong = [role for role in roles if not _ROLE.fullmatch(role) or roles.count(role) > 1]
    if wrong:
        raise ConfigError(
            f"roles {', '.join(repr(role) for role in wrong)}",
            expected="different names of letters, digits and hyphens, such as party0 or alice.client",
            remedy="Correct the names.",
        )


def _files(roles: Sequence[str], start: datetime.datetime) -> dict[str, bytes]:
    """Return PEM texts by file name; the authority's certificate comes last."""
    files: dict[str, bytes] = {}
    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())  # tells authorities of one file apart
    authority = (
        _builder("mpcvit local authority", "mpcvit local authority", authority_key, start)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(name, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    for role in roles:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(role + SUFFIX), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        certificate = (
            _builder(role, "mpcvit local authority", key, start)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(name), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        files[f"{role}.crt"] = certificate.public_bytes(serialization.Encoding.PEM)
        files[f"{role}{_KEY}"] = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    files["ca.crt"] = authority.public_bytes(serialization.Encoding.PEM)
    return files


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


def _write(path: Path, content: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
