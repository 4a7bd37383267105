"""Comparison by a distributed point function: XOR shares of [x < alpha]."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.fss import compare
from mpcvit.fss.checks import Bytes, Words
from mpcvit.fss.tree import CHUNK
from mpcvit.fss.tree_hash import TreeHash
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


def opened(pair: tuple[Words, Words], words: Words, x: Words, bits: int) -> Bytes:
    """Both parties' shares, combined."""
    first, second = (compare.evaluate(HASH, party, pair[party], words, x, bits) for party in (0, 1))
    return first ^ second


@pytest.mark.parametrize("bits", WIDTHS)
def test_edges_and_random_points(bits: int) -> None:
    """[x < alpha] at every width, at the ends of the domain, around alpha and elsewhere; eight points per key."""
    alpha = edge_secrets(300, bits) if bits > 1 else uniform((300,), 1)
    x = edge_points(alpha, bits)
    pair = roots(300)
    words = compare.deal(HASH, alpha, bits, pair)
    assert words.shape == (max(bits - 7, 0) + 1, 300, 2)
    assert words[:, 0].nbytes == compare.key_bytes(bits)
    assert (opened(pair, words, x, bits) == (x < alpha)).all()


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 7, 8, 9])
def test_exhaustive(bits: int) -> None:
    """Every alpha with every point of a small domain."""
    alpha = np.arange(2**bits, dtype=np.uint64)
    x = np.repeat(alpha[:, None], alpha.size, axis=1)
    pair = roots(alpha.size)
    assert (opened(pair, compare.deal(HASH, alpha, bits, pair), x, bits) == (x < alpha)).all()


@given(st.integers(1, 63), st.data())
def test_any_pair(bits: int, data: st.DataObject) -> None:
    """Whatever width, secret and point hypothesis thinks of."""
    domain = st.integers(0, 2**bits - 1)
    alpha, x = (np.array([data.draw(domain)], dtype=np.uint64) for _ in range(2))
    pair = roots(1, number=bits)
    assert opened(pair, compare.deal(HASH, alpha, bits, pair), x, bits)[0] == (x[0] < alpha[0])


def test_elements_are_independent() -> None:
    """A batch across several chunks equals its pieces dealt and evaluated apart; an empty batch is empty."""
    count, bits = 2 * CHUNK + 17, 12
    alpha, x, pair = uniform((count,), bits), uniform((count,), bits, number=2), roots(count)
    words = compare.deal(HASH, alpha, bits, pair)
    share = compare.evaluate(HASH, 1, pair[1], words, x, bits)
    for part in (slice(0, 5), slice(CHUNK - 1, CHUNK + 3), slice(count - 1, count), slice(0, 0)):
        piece = compare.deal(HASH, alpha[part], bits, (pair[0][part], pair[1][part]))
        assert (piece == words[:, part]).all()
        assert (compare.evaluate(HASH, 1, pair[1][part], piece, x[part], bits) == share[part]).all()
    assert (opened(pair, words, x, bits) == (x < alpha)).all()


def test_arrays_on_wire_bytes() -> None:
    """Keys read in place from a message, read-only and at an odd address, are as good, and stay as they are."""
    alpha, x, pair = uniform((100,), 9), uniform((100,), 9, number=2), roots(100)
    words = compare.deal(HASH, alpha, 9, pair)
    message = b"-" + words.tobytes()
    received = np.frombuffer(message, dtype=np.uint64, offset=1).reshape(words.shape)
    expected = compare.evaluate(HASH, 1, pair[1], words, x, 9)
    assert (compare.evaluate(HASH, 1, pair[1], received, x, 9) == expected).all()
    assert words.flags.writeable
    assert pair[1].flags.writeable


def test_one_hash_serves_threads() -> None:
    """Two threads that share a hash get what one gets: each call has its own AES context."""
    count, bits = 8 * CHUNK, 14
    x, pair = uniform((count,), bits), roots(count)
    words = compare.deal(HASH, uniform((count,), bits, number=2), bits, pair)
    expected = compare.evaluate(HASH, 0, pair[0], words, x, bits)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(compare.evaluate, HASH, 0, pair[0], words, x, bits) for _ in range(6)]
        assert all((run.result() == expected).all() for run in runs)


@pytest.mark.parametrize(
    ("bits", "of_words", "of_shares"),
    [
        (5, "782653d1808fb777", "8676070237ab8f61"),
        (15, "484ad61325c586e5", "c38c4f16f04413cf"),
        (63, "e2cc57c2a8ab2dd8", "be747e64528a61f0"),
    ],
)
def test_known_answers(bits: int, of_words: str, of_shares: str) -> None:
    """Committed digests do not change: parties of different versions would no longer understand each other."""
    pair = roots(50)
    words = compare.deal(HASH, uniform((50,), bits, number=3), bits, pair)
    assert digest(words) == of_words
    x = uniform((2, 50), bits, number=4)
    assert digest(*(compare.evaluate(HASH, party, pair[party], words, x, bits) for party in (0, 1))) == of_shares


def hashed(block: int) -> int:
    """H of a block as an integer."""
    words = np.frombuffer(block.to_bytes(16, "little"), dtype=np.uint64)
    return int.from_bytes(HASH(words).tobytes(), "little")


def reference_words(alpha: int, bits: int, root0: int, root1: int) -> list[int]:
    """Dealing one key as the paper reads, in integers."""
    seeds, controls, words = [root0 & ~3, root1 & ~3], [0, 1], []
    for level in range(bits - 7):
        keep = alpha >> (bits - 1 - level) & 1
        children = [[hashed(one), hashed(one ^ 1)] for one in seeds]  # [party][side]
        lose = 1 - keep
        correction = (children[0][lose] ^ children[1][lose]) & ~3
        control = [(children[0][side] ^ children[1][side] ^ (side == keep)) & 1 for side in (0, 1)]
        words.append(correction | control[0] | control[1] << 1)
        seeds = [(children[b][keep] & ~3) ^ controls[b] * correction for b in (0, 1)]
        controls = [(children[b][keep] & 1) ^ controls[b] * control[keep] for b in (0, 1)]
    return [*words, hashed(seeds[0]) ^ hashed(seeds[1]) ^ 1 << alpha % 128]


@pytest.mark.parametrize("bits", [7, 8, 15, 63])
def test_deals_what_the_paper_says(bits: int) -> None:
    """The batched words equal those of a plain reading of the paper with this module's packing."""
    alpha, pair = edge_secrets(6, bits), roots(6)
    words = compare.deal(HASH, alpha, bits, pair)
    for n in range(6):
        first, second = (int.from_bytes(root[n].tobytes(), "little") for root in pair)
        expected = reference_words(int(alpha[n]), bits, first, second)
        assert [int.from_bytes(word.tobytes(), "little") for word in words[:, n]] == expected


def test_every_bit_of_a_key_counts() -> None:
    """Any flipped bit of a correction word gives a wrong result at some point of the domain.

    But one: bit 0 of the leaf correction stands for position 0, which lies above no point.
    """
    bits, depth = 9, 2
    flips = (depth + 1) * 128
    alpha = np.full(flips, 300, dtype=np.uint64)
    pair = tuple(np.repeat(root, flips, axis=0) for root in roots(1))
    honest = compare.deal(HASH, alpha[:1], bits, (pair[0][:1], pair[1][:1]))
    tampered = flip_each_bit(honest.reshape(-1)).reshape(flips, depth + 1, 2).transpose(1, 0, 2)
    x = np.repeat(np.arange(2**bits, dtype=np.uint64)[:, None], flips, axis=1)
    wrong = (opened((pair[0], pair[1]), tampered, x, bits) != (x < alpha)).any(axis=0)
    assert np.flatnonzero(~wrong).tolist() == [depth * 128]


def test_other_session_other_tree() -> None:
    """A key evaluated under another session's hash gives noise."""
    alpha, pair = np.full(2000, 2**15 - 1, dtype=np.uint64), roots(2000)
    words = compare.deal(TreeHash.for_session(b"another"), alpha, 15, pair)
    result = opened(pair, words, np.full(2000, 77, dtype=np.uint64), 15)
    assert_unbiased(result[:, None])


def view(alpha: int, party: int, bits: int, x: list[int]) -> Bytes:
    """What a party sees of 4096 keys of one alpha, as bits: words, words less its own hashes, its shares at x."""
    pair = roots(4096, number=alpha % 251)
    words = compare.deal(HASH, np.full(4096, alpha, dtype=np.uint64), bits, pair)
    seeds = pair[party] & np.array([~np.uint64(3), ~np.uint64(0)])
    own = [HASH(seeds), HASH(seeds ^ np.array([1, 0], dtype=np.uint64))]
    points = np.repeat(np.array(x, dtype=np.uint64)[:, None], 4096, axis=1)
    shares = compare.evaluate(HASH, party, pair[party], words, points, bits)
    return np.concatenate(
        [bits_of(words.transpose(1, 0, 2)), *(bits_of(words[0] ^ one) for one in own), shares.T], axis=1
    )


@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize("bits", [6, 11])
def test_views_do_not_depend_on_alpha(party: int, bits: int) -> None:
    """Over random roots, every bit that a party sees is fair, whatever alpha, and two alphas look the same."""
    x = [0, 7, 40, 2**bits - 2]
    low, high = view(3, party, bits, x), view(2**bits - 5, party, bits, x)
    assert_unbiased(low)
    assert_unbiased(high)
    assert_alike(low, high)


def test_refuses_wrong_arguments() -> None:
    """Widths, parties, values, shapes and dtypes are checked before any work; no value is told."""
    alpha, pair = uniform((4,), 9), roots(4)
    words = compare.deal(HASH, alpha, 9, pair)
    for bits in (0, 64, -1):
        with pytest.raises(InputError, match="expected 1 to 63"):
            compare.deal(HASH, alpha, bits, pair)
        with pytest.raises(InputError, match="expected 1 to 63"):
            compare.evaluate(HASH, 0, pair[0], words, alpha, bits)
    with pytest.raises(InputError, match=r"a value of alpha beyond 8 bits; .* 2\*\*8"):
        compare.deal(HASH, np.full(4, 256, dtype=np.uint64), 8, pair)
    with pytest.raises(InputError, match="a value of x beyond 9 bits"):
        compare.evaluate(HASH, 0, pair[0], words, alpha + np.uint64(512), 9)
    with pytest.raises(InputError, match="party 2"):
        compare.evaluate(HASH, 2, pair[0], words, alpha, 9)
    with pytest.raises(ShapeMismatch, match=r"roots\[1\]"):
        compare.deal(HASH, alpha, 9, (pair[0], pair[1][:3]))
    with pytest.raises(ShapeMismatch, match="alpha as uint64"):
        compare.deal(HASH, alpha.reshape(2, 2), 9, pair)
    with pytest.raises(ShapeMismatch, match="correction"):
        compare.evaluate(HASH, 0, pair[0], words[1:], alpha, 9)
    with pytest.raises(ShapeMismatch, match="x as uint64"):
        compare.evaluate(HASH, 0, pair[0], words, alpha[:3], 9)
    with pytest.raises(ShapeMismatch, match="int64"):
        compare.deal(HASH, alpha.astype(np.int64), 9, pair)
