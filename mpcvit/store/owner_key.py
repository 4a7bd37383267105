"""The key with which a model's owner signs manifests: Ed25519, in PEM files as OpenSSL reads and writes them."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mpcvit.errors import ConfigError


def make_key(name: Path) -> tuple[Ed25519PrivateKey, Path, Path]:
    """Make a key; write ``<name>.key``, which its owner alone may read, and ``<name>.pub``. Return it and the paths.

    Raises:
        ConfigError: a file of such a name exists, or cannot be written; then neither is there.
    """
    private, public = (name.with_name(name.name + suffix) for suffix in (".key", ".pub"))
    key = Ed25519PrivateKey.generate()
    content = {
        private: (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600),
        public: (key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644),
    }
    made: list[Path] = []
    try:
        for path, (pem, mode) in content.items():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                made.append(path)
                file.write(pem)
    except OSError as error:
        for half in made:
            half.unlink()
        raise ConfigError(
            f"{path}: {error.strerror}",
            expected="a name of new files, in a folder that can be written to",
            remedy="Choose another name. A key that signed models is needed as long as they are.",
        ) from error
    return key, private, public


def read_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in the PEM file ``path``.

    Raises:
        ConfigError: it cannot be read, has a password, or is no Ed25519 private key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise _unusable(f"{type(error).__name__} reading {path}") from error
    except TypeError as error:
        raise _unusable(f"{path}, a key with a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(f"{path}, which is not a PEM private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(f"{path}, a private key of another kind")
    return key


def _unusable(got: str) -> ConfigError:
    return ConfigError(
        got,
        expected="a PEM file with an Ed25519 private key, not encrypted",
        remedy="Make one with 'mpcvit model keygen', or correct the path.",
    )
