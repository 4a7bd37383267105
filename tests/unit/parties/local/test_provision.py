"""Certificates and configurations for parties on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from mpcvit.errors import (
    ConfigError,
)
from parties.local.provision import provision_local


def test_certificates_carry_one_role_and_keys_stay_private(tmp_path: Path) -> None:
    """Each certificate names its role, is signed by the authority, and its key is readable by the owner only."""
    provision_local(tmp_path, ["party0", "demo.client"])
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    for role in ("party0", "demo.client"):
        certificate = x509.load_pem_x509_certificate((tmp_path / f"{role}.crt").read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"{role}.mpcvit"]
        assert (tmp_path / f"{role}.key").stat().st_mode & 0o077 == 0
    assert not list(tmp_path.glob("ca.key*"))


def test_certificates_are_never_overwritten(tmp_path: Path) -> None:
    """A second authority in the same folder would cut off every role that trusts the first."""
    provision_local(tmp_path, ["party0"])
    before = (tmp_path / "ca.crt").read_bytes()
    with pytest.raises(ConfigError, match="has certificates already"):
        provision_local(tmp_path, ["party0"])
    assert (tmp_path / "ca.crt").read_bytes() == before
