"""Reading a spline with shares of a unit vector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.fss import unit_vector
from mpcvit.fss.checks import Words
from mpcvit.fss.lookup import rotated_index, rotated_spline
from tests.support.fss_keys import HASH, digest, roots, uniform

Table = npt.NDArray[np.int64]


def table(bits: int, degree: int) -> Table:
    """Coefficients over the whole range of the ring."""
    return uniform((2**bits, degree + 1), number=50 + bits).view(np.int64)


def shares(mu: Words, bits: int, degree: int, shift: int) -> tuple[Words, Words]:
    """Random additive shares of onehot(i_mu) * mu_low**e, made in clear."""
    index = (mu >> np.uint64(shift)) % np.uint64(2**bits)
    low = mu % np.uint64(2**shift)
    payload = np.stack([low ** np.uint64(e) for e in range(degree + 1)], axis=1)
    full = payload[:, :, None] * (np.arange(2**bits, dtype=np.uint64) == index[:, None, None])
    first = uniform(full.shape, number=60)
    return first, full - first


def reference(mu: int, x_hat: int, coefficients: Table, shift: int) -> int:
    """The definition, in integers."""
    segments = coefficients.shape[0]
    segment = ((x_hat >> shift) - (mu >> shift)) % segments
    u = x_hat % 2**shift - mu % 2**shift
    value = 0
    for c in reversed(coefficients[segment].tolist()):
        value = value * u + c
    return value % 2**64


def opened(pair: tuple[Words, Words], x_hat: Words, coefficients: Table, shift: int) -> list[int]:
    """Both parties' results, summed."""
    first, second = (rotated_spline(share, x_hat, coefficients, shift) for share in pair)
    return [int(value) for value in first + second]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize(("bits", "shift"), [(1, 2), (2, 3), (3, 1), (2, 0)])
def test_exhaustive(bits: int, shift: int, degree: int) -> None:
    """Every mask with every public word of a small domain."""
    domain = np.arange(2 ** (bits + shift), dtype=np.uint64)
    mu, x_hat = np.repeat(domain, domain.size), np.tile(domain, domain.size)
    coefficients = table(bits, degree)
    expected = [reference(int(m), int(x), coefficients, shift) for m, x in zip(mu, x_hat, strict=True)]
    assert opened(shares(mu, bits, degree, shift), x_hat, coefficients, shift) == expected


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize(("bits", "shift"), [(1, 63), (4, 60), (6, 10), (9, 20), (12, 12), (6, 0)])
def test_random_words(bits: int, shift: int, degree: int) -> None:
    """Masks and words over the whole ring, with the index anywhere in it; bits above the index do not matter."""
    mu, x_hat = uniform((40,)), uniform((40,), number=2)
    mu[:4], x_hat[:4] = [0, 2**64 - 1, 0, 2**63], [0, 0, 2**64 - 1, 2**63]
    coefficients = table(bits, degree)
    expected = [reference(int(m), int(x), coefficients, shift) for m, x in zip(mu, x_hat, strict=True)]
    assert opened(shares(mu, bits, degree, shift), x_hat, coefficients, shift) == expected


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 3), st.integers(1, 8), st.integers(0, 56))
def test_any_pair(mu: int, x_hat: int, degree: int, bits: int, shift: int) -> None:
    """Whatever mask, word, degree and grid hypothesis thinks of."""
    coefficients = table(bits, degree)
    pair = shares(np.array([mu], dtype=np.uint64), bits, degree, shift)
    assert opened(pair, np.array([x_hat], dtype=np.uint64), coefficients, shift) == [
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
    low = mu % np.uint64(2**shift)
    payload = np.stack([np.ones_like(low), low, low * low], axis=1)
    pair = roots(x.size)
    index = (mu >> np.uint64(shift)) % np.uint64(2**bits)
    key = unit_vector.deal(HASH, index, bits, payload, pair)
    start = np.arange(2**bits)
    start = np.where(start < 2 ** (bits - 1), start, start - 2**bits) << shift
    coefficients = np.stack([start**2, 2 * start, np.ones_like(start)], axis=1)
    first, second = (unit_vector.expand(HASH, party, pair[party], *key, bits) for party in (0, 1))
    assert opened((first, second), x_hat, coefficients, shift) == (x * x).tolist()


def test_a_tampered_share_changes_the_value() -> None:
    """One flipped bit of an expanded share changes the result, in every power and at every place of the vector."""
    bits, degree, shift = 4, 2, 8
    expanded, _ = shares(uniform((1,)), bits, degree, shift)
    x_hat, coefficients = uniform((1,), number=2) | np.uint64(1), table(bits, degree) | 1
    honest = rotated_spline(expanded, x_hat, coefficients, shift)
    many = np.repeat(expanded, expanded.size, axis=0)
    places = np.arange(expanded.size)
    many.reshape(expanded.size, -1)[places, places] ^= np.uint64(1 << 40)
    changed = rotated_spline(many, np.repeat(x_hat, expanded.size), coefficients, shift)
    assert (changed != honest).all()


def test_known_answer() -> None:
    """A committed digest does not change."""
    result = rotated_spline(uniform((9, 3, 64)), uniform((9,), number=2), table(6, 2), 10)
    assert digest(result) == "38cf8a42b5c75775"


def test_empty_batch() -> None:
    """No elements, no values."""
    assert rotated_spline(uniform((0, 2, 8)), uniform((0,)), table(3, 1), 4).shape == (0,)


def test_refuses_wrong_arguments() -> None:
    """Degrees, grids, shapes and dtypes are checked before any work."""
    expanded, x_hat, coefficients = uniform((4, 3, 8)), uniform((4,)), table(3, 2)
    with pytest.raises(InputError, match="degree=4"):
        rotated_spline(uniform((4, 5, 8)), x_hat, table(3, 4), 4)
    with pytest.raises(InputError, match="degree=-1"):
        rotated_spline(uniform((4, 8)), x_hat, coefficients, 4)
    for shift in (-1, 62):
        with pytest.raises(InputError, match="expected 0 to 61"):
            rotated_spline(expanded, x_hat, coefficients, shift)
    with pytest.raises(InputError, match="6 segments"):
        rotated_spline(expanded[:, :, :6], x_hat, coefficients[:6], 4)
    with pytest.raises(InputError, match="index bits=0"):
        rotated_spline(expanded[:, :, :1], x_hat, coefficients[:1], 4)
    for wrong in (coefficients[:4], coefficients[:, :2], coefficients.view(np.uint64)):
        with pytest.raises(InputError, match="coefficients for 8 segments of degree 2"):
            rotated_spline(expanded, x_hat, wrong, 4)
    with pytest.raises(ShapeMismatch, match="x_hat"):
        rotated_spline(expanded, x_hat[:3], coefficients, 4)
    with pytest.raises(ShapeMismatch, match="expanded"):
        rotated_spline(expanded.view(np.int64), x_hat, coefficients, 4)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_rotated_index(bits: int) -> None:
    """Every mask with every public position, bits above included: the difference as a number, and nothing above it."""
    domain = np.arange(2**bits, dtype=np.uint64)
    mu, low = np.repeat(domain, domain.size), np.tile(domain, domain.size)
    x_hat = low + (uniform(low.shape, number=70) << np.uint64(bits))
    first, second = (rotated_index(share, x_hat) for share in shares(mu, bits, 1, 0))
    assert (first + second == (low - mu) % np.uint64(2**bits)).all()
