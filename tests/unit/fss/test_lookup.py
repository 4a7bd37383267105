"""Reading a spline with shares of a unit vector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.fss import unit_vector
from mpcvit.fss.checks import Words
from mpcvit.fss.lookup import index_table, read
from tests.support.fss_keys import HASH, digest, roots, uniform

Table = npt.NDArray[np.int64]


def table(bits: int, degree: int) -> Table:
    """Coefficients over the whole range of the ring."""
    return uniform((2**bits, degree + 1), number=50 + bits).view(np.int64)


class Keys(NamedTuple):
    """Keys of onehot(i_mu) * mu_low**e, and both parties' roots."""

    roots: tuple[Words, Words]
    correction: Words
    leaf: Words


def keys(mu: Words, bits: int, degree: int, shift: int) -> Keys:
    """Dealt for masks ``mu``."""
    index = (mu >> np.uint64(shift)) % np.uint64(2**bits)
    low = mu % np.uint64(2**shift)
    payload = np.stack([low ** np.uint64(e) for e in range(degree + 1)], axis=1)
    pair = roots(mu.size)
    return Keys(pair, *unit_vector.deal(HASH, index, bits, payload, pair))


def share(key: Keys, party: int, x_hat: Words, coefficients: Table, shift: int) -> Words:
    """One party's shares of one spline."""
    return read(HASH, party, key.roots[party], key.correction, key.leaf, x_hat, coefficients[None], shift)[0]


def reference(mu: int, x_hat: int, coefficients: Table, shift: int) -> int:
    """The definition, in integers."""
    segments = coefficients.shape[0]
    segment = ((x_hat >> shift) - (mu >> shift)) % segments
    u = x_hat % 2**shift - mu % 2**shift
    value = 0
    for c in reversed(coefficients[segment].tolist()):
        value = value * u + c
    return value % 2**64


def opened(key: Keys, x_hat: Words, coefficients: Table, shift: int) -> list[int]:
    """Both parties' results, summed."""
    first, second = (share(key, party, x_hat, coefficients, shift) for party in (0, 1))
    return [int(value) for value in first + second]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize(("bits", "shift"), [(1, 2), (2, 3), (3, 1), (2, 0)])
def test_exhaustive(bits: int, shift: int, degree: int) -> None:
    """Every mask with every public word of a small domain."""
    domain = np.arange(2 ** (bits + shift), dtype=np.uint64)
    mu, x_hat = np.repeat(domain, domain.size), np.tile(domain, domain.size)
    coefficients = table(bits, degree)
    expected = [reference(int(m), int(x), coefficients, shift) for m, x in zip(mu, x_hat, strict=True)]
    assert opened(keys(mu, bits, degree, shift), x_hat, coefficients, shift) == expected


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize(("bits", "shift"), [(1, 63), (4, 60), (6, 10), (9, 20), (12, 12), (6, 0)])
def test_random_words(bits: int, shift: int, degree: int) -> None:
    """Masks and words over the whole ring, with the index anywhere in it; bits above the index do not matter."""
    mu, x_hat = uniform((40,)), uniform((40,), number=2)
    mu[:4], x_hat[:4] = [0, 2**64 - 1, 0, 2**63], [0, 0, 2**64 - 1, 2**63]
    coefficients = table(bits, degree)
    expected = [reference(int(m), int(x), coefficients, shift) for m, x in zip(mu, x_hat, strict=True)]
    assert opened(keys(mu, bits, degree, shift), x_hat, coefficients, shift) == expected


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 3), st.integers(1, 8), st.integers(0, 56))
def test_any_pair(mu: int, x_hat: int, degree: int, bits: int, shift: int) -> None:
    """Whatever mask, word, degree and grid hypothesis thinks of."""
    coefficients = table(bits, degree)
    key = keys(np.array([mu], dtype=np.uint64), bits, degree, shift)
    assert opened(key, np.array([x_hat], dtype=np.uint64), coefficients, shift) == [
        reference(mu, x_hat, coefficients, shift)
    ]


def test_with_dealt_keys_reads_a_square() -> None:
    """End to end: keys of unit_vector, and a spline whose pieces all are x**2, give x**2 on signed 16-bit wires.

    Segment j starts at j * 2**10, or at (j - 64) * 2**10 in the upper half; x may fall one segment short of its own.
    """
    bits, shift, count = 6, 10, 3000
    x = uniform((count,), 16, number=5).view(np.int64) - 2**15
    x = x[np.abs(x) < 2**15 - 2**10]  # away from the seam of the index, where neighbouring pieces differ
    mu = uniform((x.size,), number=6)
    x_hat = x.view(np.uint64) + mu
    start = np.arange(2**bits)
    start = np.where(start < 2 ** (bits - 1), start, start - 2**bits) << shift
    coefficients = np.stack([start**2, 2 * start, np.ones_like(start)], axis=1)
    assert opened(keys(mu, bits, 2, shift), x_hat, coefficients, shift) == (x * x).tolist()


def test_a_tampered_key_changes_the_value() -> None:
    """One flipped bit of a leaf correction changes the share of the party that adds it, at every power and place."""
    bits, degree, shift = 4, 2, 8
    x_hat, coefficients = uniform((1,), number=2) | np.uint64(1), table(bits, degree) | 1
    key = keys(uniform((1,)), bits, degree, shift)
    honest = [share(key, party, x_hat, coefficients, shift) for party in (0, 1)]
    for place in range(key.leaf.size):
        leaf = key.leaf.copy()
        leaf.reshape(-1)[place] ^= np.uint64(1 << 40)
        changed = [share(key._replace(leaf=leaf), party, x_hat, coefficients, shift) for party in (0, 1)]
        assert any((now != before).any() for now, before in zip(changed, honest, strict=True))


def test_known_answer() -> None:
    """A committed digest does not change."""
    key = keys(uniform((9,)), 6, 2, 10)
    shares = [share(key, party, uniform((9,), number=2), table(6, 2), 10) for party in (0, 1)]
    assert digest(*shares) == "f16a741aec7e3854"


def test_several_tables_are_read_at_once() -> None:
    """As one after the other, from vectors that are expanded once."""
    key, x_hat = keys(uniform((30,)), 5, 2, 8), uniform((30,), number=2)
    tables = np.stack([table(5, 2), table(5, 2)[::-1]])
    both = read(HASH, 1, key.roots[1], key.correction, key.leaf, x_hat, tables, 8)
    assert (both == np.stack([share(key, 1, x_hat, one, 8) for one in tables])).all()


def test_is_what_vectors_say() -> None:
    """Both parties' shares are inner products of the vectors that unit_vector expands with the rotated table."""
    key, x_hat, coefficients = keys(uniform((20,)), 4, 0, 6), uniform((20,), number=2), table(4, 0)
    for party in (0, 1):
        vectors = unit_vector.expand(HASH, party, key.roots[party], key.correction, key.leaf, 4)[:, 0]
        places = ((x_hat >> np.uint64(6))[:, None] - np.arange(16, dtype=np.uint64)) % np.uint64(16)
        expected = (vectors * coefficients[:, 0].view(np.uint64)[places.astype(np.int64)]).sum(axis=1, dtype=np.uint64)
        assert (share(key, party, x_hat, coefficients, 6) == expected).all()


def test_empty_batch() -> None:
    """No elements, no values."""
    assert share(keys(uniform((0,)), 3, 1, 4), 0, uniform((0,)), table(3, 1), 4).shape == (0,)


def test_refuses_wrong_arguments() -> None:
    """Degrees, grids, shapes and dtypes are checked before any work."""
    key, x_hat, coefficients = keys(uniform((4,)), 3, 2, 4), uniform((4,)), table(3, 2)
    with pytest.raises(InputError, match="degree=4"):
        share(key._replace(leaf=uniform((4, 5, 2))), 0, x_hat, table(3, 4), 4)
    with pytest.raises(InputError, match="degree=-1"):
        share(key._replace(leaf=uniform((4,))), 0, x_hat, coefficients, 4)
    for shift in (-1, 62):
        with pytest.raises(InputError, match="expected 0 to 61"):
            share(key, 0, x_hat, coefficients, shift)
    with pytest.raises(InputError, match="6 segments"):
        share(key, 0, x_hat, coefficients[:6], 4)
    with pytest.raises(InputError, match="index bits=0"):
        share(key, 0, x_hat, coefficients[:1], 4)
    for wrong in (coefficients[:, :2], coefficients.view(np.uint64)):
        with pytest.raises(InputError, match="coefficients for 8 segments of degree 2"):
            share(key, 0, x_hat, wrong, 4)
    with pytest.raises(InputError, match="party 2"):
        read(HASH, 2, key.roots[0], key.correction, key.leaf, x_hat, coefficients[None], 4)
    with pytest.raises(ShapeMismatch, match="correction"):
        share(key, 0, x_hat, coefficients[:4], 4)
    with pytest.raises(ShapeMismatch, match="x_hat"):
        share(key, 0, x_hat[:3], coefficients, 4)
    with pytest.raises(ShapeMismatch, match="leaf"):
        share(key._replace(leaf=key.leaf.view(np.int64)), 0, x_hat, coefficients, 4)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_index_table(bits: int) -> None:
    """Every mask with every public position, bits above included: the difference as a number, and nothing above it."""
    domain = np.arange(2**bits, dtype=np.uint64)
    mu, low = np.repeat(domain, domain.size), np.tile(domain, domain.size)
    x_hat = low + (uniform(low.shape, number=70) << np.uint64(bits))
    first, second = (share(keys(mu, bits, 1, 0), party, x_hat, index_table(bits, 2), 0) for party in (0, 1))
    assert (first + second == (low - mu) % np.uint64(2**bits)).all()
