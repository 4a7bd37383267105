"""Whose models are accepted: public keys of model owners, and their signatures of manifests.

A signature is Ed25519 over the manifest's canonical bytes, 64 bytes. The manifest names the digest of every file, so it
vouches for the whole model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from mpcvit.errors import ConfigError, NotSigned
from mpcvit.wire.manifest import Manifest


class Owners:
    """The owners whose models are accepted; if there is none, every model is.

    Args:
        keys: their public keys by fingerprint.
    """

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Self:
        """Return the owners whose public keys are in PEM files, one in each.

        Raises:
            ConfigError: a file cannot be read, or holds something else than an Ed25519 public key.
        """
        return cls({fingerprint(key): key for key in map(_public_key, paths)})

    def check(self, manifest: Manifest, signature: bytes, where: str) -> str | None:
        """Return the fingerprint of the owner who signed ``manifest``; None where there is no owner to ask for.

        Args:
            signature: 64 bytes; empty for a manifest that nobody signed.
            where: where the manifest is, for a message.

        Raises:
            NotSigned: none of the owners signed it.
        """
        if not self._keys:
            return None
        for name, key in self._keys.items():
            try:
                key.verify(signature, manifest.canonical())
            except InvalidSignature:
                continue
            return name
        raise NotSigned(
            f"'{manifest.name}' {where}, {'with a wrong signature or from another owner' if signature else 'unsigned'}",
            expected=f"a manifest signed by {' or '.join(f'{name[:16]}..' for name in self._keys)}",
            remedy="Ask the model's owner for shares made with 'mpcvit model share --sign', or correct 'owners'.",
        )


#: No owner is asked for.
ANYBODY = Owners({})


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of the key's DER form, 64 hex digits: what owners tell others to compare."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise _unusable(f"{type(error).__name__} reading {path}") from error
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(f"{path}, which is {'not a PEM public key' if pem.strip() else 'empty'}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _unusable(f"{path}, a public key of another kind")
    return key


def _unusable(got: str) -> ConfigError:
    return ConfigError(
        got,
        expected="a PEM file with a model owner's Ed25519 public key",
        remedy="Correct 'owners'; 'mpcvit model keygen' writes such files.",
    )
