"""A payload at a secret position of a vector: additive shares of the whole vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.fss import unit_vector
from mpcvit.fss.checks import Bytes, Words
from tests.support.fss_keys import HASH, assert_alike, assert_unbiased, bits_of, digest, flip_each_bit, roots, uniform


def opened(pair: tuple[Words, Words], key: tuple[Words, Words], bits: int) -> Words:
    """Both parties' shares, summed."""
    first, second = (unit_vector.expand(HASH, party, pair[party], *key, bits) for party in (0, 1))
    return first + second


def clear(alpha: Words, payload: Words, bits: int) -> Words:
    """The vectors in clear."""
    onehot: Words = (np.arange(2**bits, dtype=np.uint64) == alpha[:, None, None]).astype(np.uint64)
    return payload[:, :, None] * onehot


@pytest.mark.parametrize("payload_words", [1, 2, 3])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6])
def test_exhaustive(bits: int, payload_words: int) -> None:
    """Every position of a short vector."""
    alpha = np.arange(2**bits, dtype=np.uint64)
    payload, pair = uniform((alpha.size, payload_words)), roots(alpha.size)
    key = unit_vector.deal(HASH, alpha, bits, payload, pair)
    assert key[0][:, 0].nbytes + key[1][0].nbytes == unit_vector.key_bytes(bits, payload_words)
    assert (opened(pair, key, bits) == clear(alpha, payload, bits)).all()


@pytest.mark.parametrize("bits", range(1, 13))
def test_edges(bits: int) -> None:
    """Every length: the ends and the middle of the vector, extreme payloads."""
    alpha = np.array([0, 1, 2 ** (bits - 1), 2**bits - 1, 2**bits - 2], dtype=np.uint64)
    payload, pair = uniform((5, 2)), roots(5)
    payload[:3, 0] = [0, 2**64 - 1, 2**63]
    key = unit_vector.deal(HASH, alpha, bits, payload, pair)
    assert (opened(pair, key, bits) == clear(alpha, payload, bits)).all()


@given(st.integers(1, 8), st.integers(1, 5), st.data())
def test_any_payload(bits: int, payload_words: int, data: st.DataObject) -> None:
    """Whatever position and payload hypothesis thinks of."""
    alpha = np.array([data.draw(st.integers(0, 2**bits - 1))], dtype=np.uint64)
    words = st.lists(st.integers(0, 2**64 - 1), min_size=payload_words, max_size=payload_words)
    payload = np.array([data.draw(words)], dtype=np.uint64)
    pair = roots(1, number=bits)
    key = unit_vector.deal(HASH, alpha, bits, payload, pair)
    assert (opened(pair, key, bits) == clear(alpha, payload, bits)).all()


def test_elements_are_independent() -> None:
    """A batch across several chunks equals its pieces dealt and expanded apart; an empty batch is empty."""
    count, bits = 5000, 6
    alpha, payload, pair = uniform((count,), bits), uniform((count, 3), number=2), roots(count)
    key = unit_vector.deal(HASH, alpha, bits, payload, pair)
    share = unit_vector.expand(HASH, 1, pair[1], *key, bits)
    assert (share + unit_vector.expand(HASH, 0, pair[0], *key, bits) == clear(alpha, payload, bits)).all()
    for part in (slice(0, 3), slice(2047, 2050), slice(count - 1, count), slice(0, 0)):
        piece = unit_vector.deal(HASH, alpha[part], bits, payload[part], (pair[0][part], pair[1][part]))
        assert (piece[0] == key[0][:, part]).all()
        assert (piece[1] == key[1][part]).all()
        assert (unit_vector.expand(HASH, 1, pair[1][part], *piece, bits) == share[part]).all()


@pytest.mark.parametrize(
    ("bits", "payload_words", "of_key", "of_shares"),
    [
        (1, 1, "ac213c05d32ced89", "85053e0a2baad14b"),
        (6, 3, "453e168988fc3b66", "4d4d4705ce6de842"),
        (9, 2, "bd96bb0d7fb622a6", "4cb10e1bd8bfc5e1"),
    ],
)
def test_known_answers(bits: int, payload_words: int, of_key: str, of_shares: str) -> None:
    """Committed digests do not change: parties of different versions would no longer understand each other."""
    pair = roots(20)
    key = unit_vector.deal(HASH, uniform((20,), bits, number=3), bits, uniform((20, payload_words), number=4), pair)
    assert digest(*key) == of_key
    assert digest(*(unit_vector.expand(HASH, party, pair[party], *key, bits) for party in (0, 1))) == of_shares


def test_every_bit_of_a_key_counts() -> None:
    """Any flipped bit of a correction word or of a leaf correction gives a wrong vector."""
    bits, depth, payload_words = 4, 3, 2
    alpha, payload, pair = np.array([9], dtype=np.uint64), uniform((1, payload_words)), roots(1)
    words, leaf = unit_vector.deal(HASH, alpha, bits, payload, pair)
    rows = flip_each_bit(np.concatenate([words.reshape(-1), leaf.reshape(-1)]))
    many = (np.repeat(pair[0], rows.shape[0], axis=0), np.repeat(pair[1], rows.shape[0], axis=0))
    tree = rows[:, : 2 * depth].reshape(-1, depth, 2).transpose(1, 0, 2)
    leaves = rows[:, 2 * depth :].reshape(-1, payload_words, 2)
    assert (opened(many, (tree, leaves), bits) != clear(alpha, payload, bits)).any(axis=(1, 2)).all()


def view(alpha: int, party: int, payload: int) -> Bytes:
    """What a party sees of 4096 keys of one secret, as bits: words, leaf corrections, its share of the vector."""
    bits, count = 4, 4096
    pair = roots(count, number=10 + alpha)
    secret, value = np.full(count, alpha, dtype=np.uint64), np.full((count, 2), payload, dtype=np.uint64)
    words, leaf = unit_vector.deal(HASH, secret, bits, value, pair)
    share = unit_vector.expand(HASH, party, pair[party], words, leaf, bits)
    return np.concatenate([bits_of(words.transpose(1, 0, 2)), bits_of(leaf), bits_of(share)], axis=1)


@pytest.mark.parametrize("party", [0, 1])
def test_views_do_not_depend_on_secrets(party: int) -> None:
    """Over random roots, every bit that a party sees is fair, and two positions and payloads look the same."""
    low, high = view(2, party, 0), view(13, party, 2**64 - 1)
    assert_unbiased(low)
    assert_unbiased(high)
    assert_alike(low, high)


def test_refuses_wrong_arguments() -> None:
    """Widths, parties, values, shapes and dtypes are checked before any work."""
    alpha, payload, pair = uniform((4,), 5), uniform((4, 2)), roots(4)
    words, leaf = unit_vector.deal(HASH, alpha, 5, payload, pair)
    for bits in (0, 13):
        with pytest.raises(InputError, match="expected 1 to 12"):
            unit_vector.deal(HASH, alpha, bits, payload, pair)
        with pytest.raises(InputError, match="expected 1 to 12"):
            unit_vector.expand(HASH, 0, pair[0], words, leaf, bits)
    with pytest.raises(InputError, match="a value of alpha beyond 4 bits"):
        unit_vector.deal(HASH, np.full(4, 16, dtype=np.uint64), 4, payload, pair)
    for shape in ((4, 0), (4, 65), (4,)):
        with pytest.raises(InputError, match="payload words"):
            unit_vector.deal(HASH, alpha, 5, np.zeros(shape, dtype=np.uint64), pair)
    with pytest.raises(ShapeMismatch, match="payload"):
        unit_vector.deal(HASH, alpha, 5, payload[:3], pair)
    with pytest.raises(ShapeMismatch, match=r"roots\[0\]"):
        unit_vector.deal(HASH, alpha, 5, payload, (pair[0][:, :1], pair[1]))
    with pytest.raises(InputError, match="party -1"):
        unit_vector.expand(HASH, -1, pair[0], words, leaf, 5)
    with pytest.raises(ShapeMismatch, match="correction"):
        unit_vector.expand(HASH, 0, pair[0], words, leaf, 6)
    with pytest.raises(ShapeMismatch, match="leaf"):
        unit_vector.expand(HASH, 0, pair[0], words, leaf[:, :, :1], 5)
