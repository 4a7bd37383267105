"""Models are accepted from the owners that a configuration names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mpcvit.errors import ConfigError, NotSigned
from mpcvit.wire.owners import ANYBODY, Owners, fingerprint
from tests.support.stand_in import MANIFEST


def _pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, path: Path) -> Path:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def keys() -> list[Ed25519PrivateKey]:
    """Three owners' keys."""
    return [Ed25519PrivateKey.generate() for _ in range(3)]


def test_one_of_the_owners_must_have_signed(keys: list[Ed25519PrivateKey], tmp_path: Path) -> None:
    """Either of two is found by its fingerprint; a third one's signature, another manifest's and none are refused."""
    owners = Owners.read([_pem(key, tmp_path / f"{number}.pub") for number, key in enumerate(keys[:2])])
    raw = MANIFEST.canonical()
    for key in keys[:2]:
        assert owners.check(MANIFEST, key.sign(raw), "here") == fingerprint(key.public_key())
    wrong = {
        "with a wrong signature or from another owner": [keys[2].sign(raw), keys[0].sign(raw + b" "), b"x", bytes(64)],
        "unsigned": [b""],
    }
    for words, signatures in wrong.items():
        for signature in signatures:
            with pytest.raises(NotSigned, match=rf"'tiny' here, {words}; .*{fingerprint(keys[1].public_key())[:16]}"):
                owners.check(MANIFEST, signature, "here")
    with pytest.raises(NotSigned):
        owners.check(replace(MANIFEST, version="2"), keys[0].sign(raw), "here")


def test_without_owners_anybody_s_models_are_accepted(keys: list[Ed25519PrivateKey]) -> None:
    """Nothing is checked then, and nobody is named."""
    assert ANYBODY.check(MANIFEST, b"", "here") is None
    assert ANYBODY.check(MANIFEST, keys[0].sign(b"something else"), "here") is None
    assert Owners.read([]).check(MANIFEST, b"", "here") is None


def test_what_is_no_public_key_is_refused(keys: list[Ed25519PrivateKey], tmp_path: Path) -> None:
    """A missing or empty file, another kind of key and what is no PEM: CONFIG, with the path."""
    good, empty, text = (tmp_path / name for name in ("good.pub", "empty.pub", "text.pub"))
    _pem(keys[0], good)
    empty.touch()
    text.write_text("-----BEGIN PUBLIC KEY-----\nnothing\n-----END PUBLIC KEY-----\n")
    other = _pem(ec.generate_private_key(ec.SECP256R1()), tmp_path / "other.pub")
    wrong = {
        tmp_path / "missing.pub": "FileNotFoundError reading .*missing.pub",
        empty: "empty.pub, which is empty",
        text: "text.pub, which is not a PEM public key",
        other: "other.pub, a public key of another kind",
    }
    for path, words in wrong.items():
        with pytest.raises(ConfigError, match=words):
            Owners.read([good, path])
