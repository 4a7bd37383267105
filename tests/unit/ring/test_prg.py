"""The AES streams that every mask comes from."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from mpcvit.errors import InputError, RandomnessReused
from mpcvit.ring.prg import Prg
from tests.support.secure import seed

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "prg.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_known_answers(vector: dict) -> None:
    """Committed outputs do not change: parties of different versions would no longer understand each other."""
    stream = Prg(bytes.fromhex(vector["seed"])).stream(*vector["label"])
    assert stream.draw(len(vector["output"]) // 2).tobytes().hex() == vector["output"]


def test_is_aes_ctr_under_hmac_sha256() -> None:
    """The stream is AES-128 of the counter under HMAC-SHA-256(seed, label), computed here in another way."""
    label = b"s" + (2).to_bytes(4, "little") + b"op" + b"i" + (8).to_bytes(4, "little") + (7).to_bytes(8, "little")
    key = hmac.digest(seed(3), b"mpcvit/prg/v1" + label, hashlib.sha256)[:16]
    encryptor = Cipher(AES128(key), ECB()).encryptor()  # noqa: S305  # single blocks, to rebuild CTR
    expected = b"".join(encryptor.update(block.to_bytes(16, "big")) for block in range(5))
    assert Prg(seed(3)).stream("op", 7).draw(70).tobytes() == expected[:70]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6))
def test_draws_continue_the_stream(sizes: list[int]) -> None:
    """Drawing in pieces gives the same bytes as drawing at once, and none twice."""
    pieces, whole = Prg(seed(1)).stream("a"), Prg(seed(1)).stream("a")
    assert b"".join(pieces.draw(size).tobytes() for size in sizes) == whole.draw(sum(sizes)).tobytes()


def test_large_draws_cross_the_zero_buffer() -> None:
    """Draws beyond the internal buffer of 1 MiB are the same stream."""
    one, two = Prg(seed(1)).stream("a"), Prg(seed(1)).stream("a")
    size = (1 << 20) + 1000
    assert (one.draw(size) == np.concatenate([two.draw(999), two.draw(size - 999)])).all()


def test_a_name_serves_once() -> None:
    """Asking for a name twice is refused; labels that only look alike are different names."""
    prg = Prg(seed(1))
    streams = [prg.stream(*label).draw(16).tobytes() for label in [("a", 1), ("a", "1"), ("a1",), ("a", b"1"), ("a",)]]
    assert len(set(streams)) == 5
    with pytest.raises(RandomnessReused, match="second use"):
        prg.stream("a", 1)


def test_different_seeds_and_names_differ() -> None:
    """Streams of two seeds, and of two names, have nothing in common."""
    assert Prg(seed(1)).stream("a").draw(32).tobytes() != Prg(seed(2)).stream("a").draw(32).tobytes()
    assert Prg(seed(1)).derive("child") != Prg(seed(1)).derive("other")


def test_ring_elements_and_bits_are_uniform() -> None:
    """All bits of ring elements, and bit draws, are fair to five standard deviations."""
    words = Prg(seed(4)).stream("w").ring((1000, 100))
    assert words.shape == (1000, 100)
    assert words.dtype == np.int64
    shares = np.array([((words >> bit) & 1).mean() for bit in range(64)])
    assert np.abs(shares - 0.5).max() < 5 * 0.5 / np.sqrt(words.size)
    bits = Prg(seed(4)).stream("b").bits((77, 13))
    assert set(np.unique(bits)) == {0, 1}
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def test_seed_length_and_repr() -> None:
    """A seed must have 32 bytes, and does not show."""
    with pytest.raises(InputError, match="16 bytes"):
        Prg(bytes(16))
    assert "hidden" in repr(Prg(seed(1)))
