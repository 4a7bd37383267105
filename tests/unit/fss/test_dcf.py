"""Comparison with a payload: additive shares of payload * [x < alpha]."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.fss import dcf
from mpcvit.fss.checks import Bytes, Words
from mpcvit.fss.tree import CHUNK
from tests.support.fss_keys import (
    HASH,
    assert_alike,
    assert_unbiased,
    bits_of,
    digest,
    edge_points,
    edge_secrets,
    flip_each_bit,
    roots,
    uniform,
)

WIDTHS = [*range(1, 21), 32, 40, 63]


def opened(pair: tuple[Words, Words], key: tuple[Words, Words], x: Words, bits: int) -> Words:
    """Both parties' shares, summed."""
    first, second = (dcf.evaluate(HASH, party, pair[party], *key, x, bits) for party in (0, 1))
    return first + second


def clear(alpha: Words, payload: Words, x: Words) -> Words:
    """The results in clear."""
    return (x < alpha)[..., None] * payload


@pytest.mark.parametrize("bits", WIDTHS)
def test_edges_and_random_points(bits: int) -> None:
    """Every width, at the ends of the domain, around alpha and elsewhere; eight points per key."""
    payload_words = 1 + bits % 4
    alpha = edge_secrets(200, bits) if bits > 1 else uniform((200,), 1)
    x, payload, pair = edge_points(alpha, bits), uniform((200, payload_words)), roots(200)
    key = dcf.deal(HASH, alpha, bits, payload, pair)
    assert key[0].shape == (bits - 1, 200, 2)
    assert key[1].shape == (bits, 200, payload_words)
    assert key[0][:, 0].nbytes + key[1][:, 0].nbytes == dcf.key_bytes(bits, payload_words)
    assert (opened(pair, key, x, bits) == clear(alpha, payload, x)).all()


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_exhaustive(bits: int) -> None:
    """Every alpha with every point of a small domain."""
    alpha = np.arange(2**bits, dtype=np.uint64)
    x = np.repeat(alpha[:, None], alpha.size, axis=1)
    payload, pair = uniform((alpha.size, 2)), roots(alpha.size)
    key = dcf.deal(HASH, alpha, bits, payload, pair)
    assert (opened(pair, key, x, bits) == clear(alpha, payload, x)).all()


@given(st.integers(1, 63), st.integers(1, 5), st.data())
def test_any_pair(bits: int, payload_words: int, data: st.DataObject) -> None:
    """Whatever width, secret, payload and point hypothesis thinks of."""
    domain = st.integers(0, 2**bits - 1)
    alpha, x = (np.array([data.draw(domain)], dtype=np.uint64) for _ in range(2))
    words = st.lists(st.integers(0, 2**64 - 1), min_size=payload_words, max_size=payload_words)
    payload = np.array([data.draw(words)], dtype=np.uint64)
    pair = roots(1, number=bits)
    key = dcf.deal(HASH, alpha, bits, payload, pair)
    assert (opened(pair, key, x, bits) == clear(alpha, payload, x)).all()


def test_elements_are_independent() -> None:
    """A batch across several chunks equals its pieces dealt and evaluated apart; an empty batch is empty."""
    count, bits = CHUNK + 17, 10
    alpha, x, pair = uniform((count,), bits), uniform((count,), bits, number=2), roots(count)
    payload = uniform((count, 3), number=3)
    key = dcf.deal(HASH, alpha, bits, payload, pair)
    share = dcf.evaluate(HASH, 1, pair[1], *key, x, bits)
    assert (share + dcf.evaluate(HASH, 0, pair[0], *key, x, bits) == clear(alpha, payload, x)).all()
    for part in (slice(0, 5), slice(CHUNK - 1, CHUNK + 3), slice(count - 1, count), slice(0, 0)):
        piece = dcf.deal(HASH, alpha[part], bits, payload[part], (pair[0][part], pair[1][part]))
        assert (piece[0] == key[0][:, part]).all()
        assert (piece[1] == key[1][:, part]).all()
        assert (dcf.evaluate(HASH, 1, pair[1][part], *piece, x[part], bits) == share[part]).all()


@pytest.mark.parametrize(
    ("bits", "payload_words", "of_key", "of_shares"),
    [
        (1, 1, "52b5d8ac8da50286", "6755124c80a4741f"),
        (16, 2, "fb1589150a7c8026", "dae45610e8fb3329"),
        (63, 3, "3ffb6295fec42e35", "52224f87aed9ba3f"),
    ],
)
def test_known_answers(bits: int, payload_words: int, of_key: str, of_shares: str) -> None:
    """Committed digests do not change: parties of different versions would no longer understand each other."""
    pair = roots(20)
    key = dcf.deal(HASH, uniform((20,), bits, number=3), bits, uniform((20, payload_words), number=4), pair)
    assert digest(*key) == of_key
    x = uniform((2, 20), bits, number=5)
    assert digest(*(dcf.evaluate(HASH, party, pair[party], *key, x, bits) for party in (0, 1))) == of_shares


def test_every_bit_of_a_key_counts() -> None:
    """Any flipped bit of a correction word or value gives a wrong result at some point of the domain."""
    bits, payload_words = 5, 2
    alpha, payload, pair = np.array([19], dtype=np.uint64), uniform((1, payload_words)), roots(1)
    words, values = dcf.deal(HASH, alpha, bits, payload, pair)
    rows = flip_each_bit(np.concatenate([words.reshape(-1), values.reshape(-1)]))
    flips = rows.shape[0]
    many = (np.repeat(pair[0], flips, axis=0), np.repeat(pair[1], flips, axis=0))
    tree = rows[:, : words.size].reshape(flips, bits - 1, 2).transpose(1, 0, 2)
    added = rows[:, words.size :].reshape(flips, bits, payload_words).transpose(1, 0, 2)
    x = np.repeat(np.arange(2**bits, dtype=np.uint64)[:, None], flips, axis=1)
    assert (opened(many, (tree, added), x, bits) != clear(alpha, payload, x)).any(axis=(0, 2)).all()


def view(alpha: int, party: int, payload: int) -> Bytes:
    """What a party sees of 4096 keys of one secret, as bits: words, values, and its shares where x is not the top."""
    bits, count = 6, 4096
    pair = roots(count, number=10 + alpha)
    secret, value = np.full(count, alpha, dtype=np.uint64), np.full((count, 2), payload, dtype=np.uint64)
    words, values = dcf.deal(HASH, secret, bits, value, pair)
    x = np.repeat(np.array([0, 21, 45, 62], dtype=np.uint64)[:, None], count, axis=1)
    shares = dcf.evaluate(HASH, party, pair[party], words, values, x, bits)
    return np.concatenate([bits_of(part.transpose(1, 0, 2)) for part in (words, values, shares)], axis=1)


@pytest.mark.parametrize("party", [0, 1])
def test_views_do_not_depend_on_secrets(party: int) -> None:
    """Over random roots, every bit that a party sees is fair, and two secrets and payloads look the same."""
    low, high = view(2, party, 0), view(60, party, 2**64 - 1)
    assert_unbiased(low)
    assert_unbiased(high)
    assert_alike(low, high)


def test_refuses_wrong_arguments() -> None:
    """Widths, parties, values, shapes and dtypes are checked before any work."""
    alpha, payload, pair = uniform((4,), 9), uniform((4, 2)), roots(4)
    words, values = dcf.deal(HASH, alpha, 9, payload, pair)
    for bits in (0, 64):
        with pytest.raises(InputError, match="expected 1 to 63"):
            dcf.deal(HASH, alpha, bits, payload, pair)
        with pytest.raises(InputError, match="expected 1 to 63"):
            dcf.evaluate(HASH, 0, pair[0], words, values, alpha, bits)
    with pytest.raises(InputError, match="a value of alpha beyond 8 bits"):
        dcf.deal(HASH, np.full(4, 256, dtype=np.uint64), 8, payload, pair)
    with pytest.raises(InputError, match="payload words"):
        dcf.deal(HASH, alpha, 9, payload[:, :0], pair)
    with pytest.raises(ShapeMismatch, match="payload"):
        dcf.deal(HASH, alpha, 9, payload[:3], pair)
    with pytest.raises(InputError, match="party 2"):
        dcf.evaluate(HASH, 2, pair[0], words, values, alpha, 9)
    with pytest.raises(ShapeMismatch, match="correction"):
        dcf.evaluate(HASH, 0, pair[0], words[:-1], values, alpha, 9)
    with pytest.raises(ShapeMismatch, match="values"):
        dcf.evaluate(HASH, 0, pair[0], words, values[:-1], alpha, 9)
    with pytest.raises(ShapeMismatch, match="x as"):
        dcf.evaluate(HASH, 0, pair[0], words, values, alpha[:, None], 9)
