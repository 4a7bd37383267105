"""Reading piecewise polynomials at a masked point with keys of a unit vector: the spline gate, local.

A wire x = x_hat - mu is public x_hat and a mask that the dealer knows. Keys of :mod:`mpcvit.fss.unit_vector` give
shares of onehot(i_mu) * mu_low**e. With them each party reads the coefficients at the rotated index (the shared truth
table of Boyle, Gilboa, Ishai, "Secure Computation with Preprocessing via Function Secret Sharing", TCC 2019) and
expands the powers of u_hat - mu_low. The vectors of a few elements are expanded, read and forgotten: they never leave
the cache.

Legend: N elements, T tables, E powers of mu_low and of u (degree + 1), K segments, D = 2 K.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from mpcvit.errors import InputError
from mpcvit.fss.checks import Words, check_party, check_width, words
from mpcvit.fss.tree import GROUP, padded
from mpcvit.fss.tree_hash import TreeHash
from mpcvit.fss.unit_vector import MAX_BITS, POSITIONS, TOGETHER, expand_group, room_for_nodes, room_for_values

MAX_DEGREE = 3
_NONE = np.uint64(0)


def read(
    tree_hash: TreeHash,
    party: int,
    root: Words,
    correction: Words,
    leaf: Words,
    x_hat: Words,
    tables: npt.NDArray[np.int64],
    shift: int,
) -> Words:
    """Return this party's additive shares of splines at x, uint64[T, N]; the parties' results sum to them mod 2**64.

    With 2**k segments, i_hat = (x_hat >> shift) mod 2**k, u_hat = x_hat mod 2**shift, and the same bits i_mu, mu_low of
    mu, a value is sum_m table[(i_hat - i_mu) mod 2**k, m] * (u_hat - mu_low)**m. So u lies in (-2**shift, 2**shift):
    where mu_low > u_hat, the polynomial of the next segment is read left of its start. Exact.

    Args:
        tree_hash: the session's hash.
        party: 0 or 1.
        root, correction, leaf: a key of the unit vector of i_mu with payload mu_low**e, e from 0 to the degree; see
            :func:`mpcvit.fss.unit_vector.expand`.
        x_hat: the public words, uint64[N].
        tables: public coefficients, int64[T, 2**k, degree + 1], lowest power first; k from 1 to 12, degree from 0 to 3.
        shift: bits below the index; shift + k at most 64.

    Raises:
        InputError: a shape or width is wrong.
    """
    check_party(party)
    count, powers = (*leaf.shape, 0, 0)[:2]
    degree, segments = powers - 1, tables.shape[1] if tables.ndim == 3 else 0
    check_width("degree", degree, 0, MAX_DEGREE)
    bits = segments.bit_length() - 1
    check_width("index bits", bits, 1, MAX_BITS)
    check_width("shift", shift, 0, 64 - bits)
    if segments != 1 << bits or tables.shape[2] != powers or tables.dtype != np.int64:
        raise InputError(
            f"{tables.dtype}{list(tables.shape)} coefficients for {segments} segments of degree {degree}",
            expected="int64[tables, 2**k, degree + 1]",
            remedy="Make the tables and the unit vectors for the same splines.",
        )
    root_N2 = words("root", root, (count, 2))
    words_LN2 = words("correction", correction, (bits - 1, count, 2))
    leaf_NE2 = words("leaf", leaf, (count, powers, POSITIONS))
    x_N = words("x_hat", x_hat, (count,))
    value_TN = np.empty((len(tables), max(count, GROUP)), dtype=np.uint64)
    _read(
        tree_hash.round_keys,
        np.uint64(party),
        padded(root_N2, 0),
        padded(words_LN2, 1),
        padded(leaf_NE2, 0),
        bits - 1,
        padded(x_N, 0),
        _reversed_twice(tables),
        _signed_binomials(degree),
        np.uint64(shift),
        value_TN,
    )
    return value_TN[:, :count]


def index_table(bits: int, powers: int) -> npt.NDArray[np.int64]:
    """Return the table that reads (x_hat - i_mu) mod 2**bits itself, where shift is 0: int64[2**bits, powers]."""
    table = np.zeros((1 << bits, powers), dtype=np.int64)
    table[:, 0] = np.arange(1 << bits)
    return table


def _reversed_twice(tables_TKE: npt.NDArray[np.int64]) -> Words:
    """Return tables as uint64[T, E, D] with [t, e, p] the coefficient of u**e of segment -p mod K: rotations are
    contiguous.
    """
    tables_TEK = np.roll(tables_TKE[:, ::-1].transpose(0, 2, 1), 1, axis=2)
    return np.ascontiguousarray(np.concatenate([tables_TEK, tables_TEK], axis=2)).view(np.uint64)


def _signed_binomials(degree: int) -> Words:
    """Return [e, m] = (-1)**e * binomial(m, e) mod 2**64: the factors of mu_low**e * u_hat**(m - e) in (u_hat -
    mu_low)**m.
    """
    table = [[(-1) ** e * math.comb(m, e) for m in range(degree + 1)] for e in range(degree + 1)]
    return np.array(table, dtype=np.int64).view(np.uint64)


@njit(cache=True, nogil=True)
def _read(
    keys: Words,
    party: np.uint64,
    root: Words,
    correction: Words,
    leaf: Words,
    depth: int,
    x: Words,
    tables_TED: Words,
    binomials_EE: Words,
    shift: np.uint64,
    value_TN: Words,
) -> None:
    """Read all tables at N >= 16 elements; keys and points are flat."""
    count, powers, segments = x.shape[0], binomials_EE.shape[0], 2 << depth
    nodes, values = room_for_nodes(depth), room_for_values()
    vectors = np.empty(TOGETHER * powers * segments, dtype=np.uint64)
    shifted_K = np.empty(segments, dtype=np.uint64)
    for start in range(0, count, TOGETHER):
        n = min(start, count - TOGETHER)
        expand_group(keys, party, root, correction, leaf, depth, count, n, nodes, values, vectors)
        for e in range(TOGETHER):
            own = vectors[e * powers * segments : (e + 1) * powers * segments]
            for t in range(value_TN.shape[0]):
                value_TN[t, n + e] = _value(own, x[n + e], tables_TED[t], binomials_EE, shift, shifted_K)


@njit(cache=True, nogil=True)
def _value(
    vectors: Words, x: np.uint64, table_ED: Words, binomials_EE: Words, shift: np.uint64, shifted_K: Words
) -> np.uint64:
    """Return the inner product of one element's vectors with the rotated table, Taylor-shifted to u_hat."""
    powers, segments = binomials_EE.shape[0], shifted_K.shape[0]
    first = segments - np.int64((x >> shift) & np.uint64(segments - 1))
    u_hat = x & ((np.uint64(1) << shift) - np.uint64(1))
    total = _NONE
    for e in range(powers):
        last_K, factor = table_ED[powers - 1, first : first + segments], binomials_EE[e, powers - 1]
        for i in range(segments):
            shifted_K[i] = last_K[i] * factor
        for m in range(powers - 2, e - 1, -1):
            row_K, factor = table_ED[m, first : first + segments], binomials_EE[e, m]
            for i in range(segments):
                shifted_K[i] = shifted_K[i] * u_hat + row_K[i] * factor
        vector_K = vectors[e * segments : (e + 1) * segments]
        for i in range(segments):
            total += vector_K[i] * shifted_K[i]
    return total
