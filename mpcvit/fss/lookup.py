"""Reading a piecewise polynomial with shares of a unit vector: the online half of the spline gate, local.

A wire x = x_hat - mu is public x_hat and a mask that the dealer knows. With shares of onehot(i_mu) * mu_low**e, dealt
by :mod:`mpcvit.fss.unit_vector`, each party reads the coefficients at the rotated index (the shared truth table of
Boyle, Gilboa, Ishai, "Secure Computation with Preprocessing via Function Secret Sharing", TCC 2019) and expands the
powers of u_hat - mu_low.

Legend: N elements, E powers of mu_low and of u (degree + 1), K segments, D = 2 K.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from mpcvit.errors import InputError
from mpcvit.fss.checks import Words, check_width, words

MAX_DEGREE = 3
MAX_BITS = 12
_NONE = np.uint64(0)


def rotated_spline(expanded: Words, x_hat: Words, coefficients: npt.NDArray[np.int64], shift: int) -> Words:
    """Return this party's additive shares of the spline at x, uint64[N]; the parties' results sum to it mod 2**64.

    With 2**k segments, i_hat = (x_hat >> shift) mod 2**k, u_hat = x_hat mod 2**shift, and the same bits i_mu, mu_low of
    mu, the value is sum_m coefficients[(i_hat - i_mu) mod 2**k, m] * (u_hat - mu_low)**m. So u lies in
    (-2**shift, 2**shift): where mu_low > u_hat, the polynomial of the next segment is read left of its start. Exact.

    Args:
        expanded: shares of onehot(i_mu) * mu_low**e, uint64[N, degree + 1, 2**k], degree from 0 to 3, k from 1 to 12.
        x_hat: the public words, uint64[N].
        coefficients: the public table, int64[2**k, degree + 1], lowest power first.
        shift: bits below the index; shift + k at most 64.

    Raises:
        InputError: a shape or width is wrong.
    """
    degree = expanded.shape[1] - 1 if expanded.ndim == 3 else -1
    segments = expanded.shape[2] if expanded.ndim == 3 else 0
    check_width("degree", degree, 0, MAX_DEGREE)
    bits = segments.bit_length() - 1
    check_width("index bits", bits, 1, MAX_BITS)
    check_width("shift", shift, 0, 64 - bits)
    if segments != 1 << bits or coefficients.shape != (segments, degree + 1) or coefficients.dtype != np.int64:
        raise InputError(
            f"{coefficients.dtype}{list(coefficients.shape)} coefficients for {segments} segments of degree {degree}",
            expected="int64[2**k, degree + 1]",
            remedy="Make the table and the unit vectors for the same spline.",
        )
    expanded_NEK = words("expanded", expanded, expanded.shape)
    x_N = words("x_hat", x_hat, expanded.shape[:1])
    value_N = np.empty(x_N.shape, dtype=np.uint64)
    _evaluate(expanded_NEK, x_N, _reversed_twice(coefficients), _signed_binomials(degree), np.uint64(shift), value_N)
    return value_N


def rotated_index(expanded: Words, x_hat: Words) -> Words:
    """Return this party's additive shares of (x_hat - i_mu) mod 2**k, as a number from 0 to 2**k - 1, uint64[N].

    Exact in the ring. The bits of x_hat from k up are ignored.

    Args:
        expanded: shares of onehot(i_mu) in [:, 0], uint64[N, any, 2**k], k from 1 to 12.
        x_hat: the public words, uint64[N].

    Raises:
        InputError: a shape or width is wrong.
    """
    check_width("index bits", expanded.shape[2].bit_length() - 1, 1, MAX_BITS)
    expanded_NEK = words("expanded", expanded, expanded.shape)
    x_N = words("x_hat", x_hat, expanded.shape[:1])
    value_N = np.empty(x_N.shape, dtype=np.uint64)
    _read_index(expanded_NEK, x_N, value_N)
    return value_N


def _reversed_twice(coefficients_KE: npt.NDArray[np.int64]) -> Words:
    """Return the table as uint64[E, D] with [e, p] the coefficient of u**e of segment -p mod K: rotations are
    contiguous.
    """
    table_EK = np.roll(coefficients_KE[::-1].T, 1, axis=1)
    return np.ascontiguousarray(np.concatenate([table_EK, table_EK], axis=1)).view(np.uint64)


def _signed_binomials(degree: int) -> Words:
    """Return [e, m] = (-1)**e * binomial(m, e) mod 2**64: the factors of mu_low**e * u_hat**(m - e) in (u_hat -
    mu_low)**m.
    """
    table = [[(-1) ** e * math.comb(m, e) for m in range(degree + 1)] for e in range(degree + 1)]
    return np.array(table, dtype=np.int64).view(np.uint64)


@njit(cache=True, nogil=True)
def _evaluate(
    expanded_NEK: Words, x_N: Words, table_ED: Words, binomials_EE: Words, shift: np.uint64, value_N: Words
) -> None:
    powers, segments = expanded_NEK.shape[1], expanded_NEK.shape[2]
    whole = np.uint64(segments - 1)
    low = (np.uint64(1) << shift) - np.uint64(1)
    for n in range(x_N.shape[0]):
        start = segments - np.int64((x_N[n] >> shift) & whole)
        u_hat = x_N[n] & low
        value = _NONE
        for e in range(powers):
            vector_K = expanded_NEK[n, e]
            factor = np.uint64(1)  # u_hat**(m - e)
            for m in range(e, powers):
                row_K = table_ED[m, start : start + segments]
                read = _NONE
                for i in range(segments):
                    read += vector_K[i] * row_K[i]
                value += binomials_EE[e, m] * factor * read
                factor *= u_hat
        value_N[n] = value


@njit(cache=True, nogil=True)
def _read_index(expanded_NEK: Words, x_N: Words, value_N: Words) -> None:
    segments = expanded_NEK.shape[2]
    whole = np.uint64(segments - 1)
    for n in range(x_N.shape[0]):
        value = _NONE
        for i in range(segments):
            value += expanded_NEK[n, 0, i] * ((x_N[n] - np.uint64(i)) & whole)
        value_N[n] = value
