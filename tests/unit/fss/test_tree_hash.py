"""The fixed-key AES hash that grows every tree."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.fss.tree_hash import TreeHash
from tests.support.fss_keys import HASH, assert_unbiased, bits_of, digest, uniform


def test_is_aes_with_feed_forward() -> None:
    """H(b) = AES_K(b) xor b with K from SHA-256 of domain and session, computed here block by block."""
    key = hashlib.sha256(b"mpcvit/fss/tree-hash/v1" + b"session 7").digest()[:16]
    blocks = uniform((5, 2))
    hashed = TreeHash.for_session(b"session 7")(blocks)
    for block, result in zip(blocks, hashed, strict=True):
        encryptor = Cipher(AES128(key), ECB()).encryptor()  # noqa: S305  # one block
        expected = int.from_bytes(encryptor.update(block.tobytes()), "little") ^ int.from_bytes(
            block.tobytes(), "little"
        )
        assert int.from_bytes(result.tobytes(), "little") == expected


def test_known_answer() -> None:
    """A committed digest does not change: parties of different versions would no longer understand each other."""
    assert digest(HASH(uniform((100, 2)))) == "fa8d135cbfffef68"


def test_sessions_hash_differently() -> None:
    """Two session ids give unrelated outputs on the same blocks: half of all bits differ."""
    blocks = uniform((4096, 2))
    other = TreeHash.for_session(b"fss tests 2")
    assert_unbiased(bits_of(HASH(blocks) ^ other(blocks)))


def test_shapes() -> None:
    """Leading axes are free, and a strided input counts as its values."""
    blocks = uniform((3, 4, 2))
    expected = HASH(blocks.reshape(-1, 2)).reshape(3, 4, 2)
    assert (HASH(blocks[:, ::2]) == expected[:, ::2]).all()
    assert HASH(blocks[:0]).shape == (0, 4, 2)


def test_refuses_wrong_arguments() -> None:
    """Wrong keys, ids, shapes and dtypes raise typed errors."""
    with pytest.raises(InputError, match="hash key of 15 bytes"):
        TreeHash(bytes(15))
    with pytest.raises(InputError, match="empty session id"):
        TreeHash.for_session(b"")
    with pytest.raises(ShapeMismatch, match="blocks"):
        HASH(np.zeros((4, 3), dtype=np.uint64))
    with pytest.raises(ShapeMismatch, match="int64"):
        HASH(np.zeros((4, 2), dtype=np.int64))
