"""An authority that keeps its key, so that tests can renew certificates, let them end, and forge them."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mpcvit.wire.own_certificate import SUFFIX
from mpcvit.wire.tls import TlsFiles

DAY = datetime.timedelta(days=1)
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of a test")])


class Authority:
    """Whoever has it can issue a certificate for any role."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        self.certificate_pem = _pem(_builder(self._key, now - DAY, now + DAY, ca=True).sign(self._key, hashes.SHA256()))

    def certificate(
        self,
        role: str,
        *,
        starts: datetime.datetime | None = None,
        ends: datetime.datetime | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
        """A new certificate for ``role`` as PEM, for a new key unless one is given, and the key."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        names = x509.SubjectAlternativeName([x509.DNSName(role + SUFFIX)])
        builder = _builder(key, starts or now - DAY, ends or now + DAY, ca=False).add_extension(names, critical=False)
        return _pem(builder.sign(self._key, hashes.SHA256())), key

    def issue(
        self,
        folder: Path,
        role: str,
        *,
        starts: datetime.datetime | None = None,
        ends: datetime.datetime | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> TlsFiles:
        """Write a role's three files, each replaced in one step; the files and the key go together at the end."""
        certificate, key = self.certificate(role, starts=starts, ends=ends, key=key)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        folder.mkdir(exist_ok=True)
        for name, content in (("ca.crt", self.certificate_pem), (f"{role}.crt", certificate), (f"{role}.key", private)):
            (folder / f".{name}").write_bytes(content)
            os.replace(folder / f".{name}", folder / name)
        return TlsFiles.in_folder(folder, role)


def key_of(files: TlsFiles) -> ec.EllipticCurvePrivateKey:
    """The private key in a role's files."""
    assert files.key is not None
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _builder(
    key: ec.EllipticCurvePrivateKey, start: datetime.datetime, end: datetime.datetime, *, ca: bool
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_NAME if ca else x509.Name([]))
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
