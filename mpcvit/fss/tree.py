"""The tree of a distributed point function: dealing one path, and walking one path.

Boyle, Gilboa, Ishai, "Function Secret Sharing: Improvements and Extensions", CCS 2016, figure 1, with the hash of
:mod:`mpcvit.fss.tree_hash` as generator. Both parties grow a tree from their own root. At a node off the path to alpha
their seeds and control bits are equal; at a node on it the seeds are independent and the control bits differ. A
correction word per level, the same for both, makes it so: it cancels the child that leaves the path.

All functions work on chunks of elements that stay in cache; the callers cut. Legend:

    N  elements of the chunk
    G  planes of the dealer's block buffers: (seed 0, seed 1, seed 0 xor 1, seed 1 xor 1), then the caller's own
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit

from mpcvit.fss.checks import Words
from mpcvit.fss.tree_hash import SEED_BITS, Permutation

CHUNK = 2048  # elements; a few buffers of 16 to 128 KB
_NONE = np.uint64(0)
_ONE = np.uint64(1)


def chunks(count: int, size: int = CHUNK) -> Iterator[slice]:
    """Yield slices of at most ``size`` that cover ``count`` elements."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def bit_at(bits: int, level: int, last: int) -> tuple[np.uint64, np.uint64]:
    """Return shift and mask that read a point's direction at depth ``level``; nothing from depth ``last`` on."""
    return (np.uint64(bits - 1 - level), _ONE) if level < last else (_NONE, _NONE)


# -- the dealer -------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def plant(root0_N2: Words, root1_N2: Words, inputs_GN2: Words, control_N: Words) -> None:
    """Write the roots as the first four planes; control bits are party 0's: 0 (party 1's is always the other)."""
    for n in range(root0_N2.shape[0]):
        _spread(root0_N2[n, 0] & SEED_BITS, root0_N2[n, 1], 0, n, inputs_GN2)
        _spread(root1_N2[n, 0] & SEED_BITS, root1_N2[n, 1], 1, n, inputs_GN2)
        control_N[n] = _NONE


@njit(cache=True, nogil=True, inline="always")
def _spread(low: np.uint64, high: np.uint64, party: int, n: int, inputs_GN2: Words) -> None:
    inputs_GN2[party, n, 0] = low
    inputs_GN2[party, n, 1] = high
    inputs_GN2[party + 2, n, 0] = low ^ _ONE
    inputs_GN2[party + 2, n, 1] = high


@njit(cache=True, nogil=True)
def deal_level(
    inputs_GN2: Words, hashed_GN2: Words, control_N: Words, alpha_N: Words, shift: np.uint64, words_N2: Words
) -> None:
    """Write the correction words of one level and move seeds and control bits to alpha's child."""
    for n in range(alpha_N.shape[0]):
        side = (alpha_N[n] >> shift) & _ONE
        right = _NONE - side  # all ones if alpha goes right
        left0 = hashed_GN2[0, n, 0] ^ inputs_GN2[0, n, 0]
        left1 = hashed_GN2[1, n, 0] ^ inputs_GN2[1, n, 0]
        right0 = hashed_GN2[2, n, 0] ^ inputs_GN2[2, n, 0]
        right1 = hashed_GN2[3, n, 0] ^ inputs_GN2[3, n, 0]
        high_left0 = hashed_GN2[0, n, 1] ^ inputs_GN2[0, n, 1]
        high_left1 = hashed_GN2[1, n, 1] ^ inputs_GN2[1, n, 1]
        high_right0 = hashed_GN2[2, n, 1] ^ inputs_GN2[2, n, 1]
        high_right1 = hashed_GN2[3, n, 1] ^ inputs_GN2[3, n, 1]

        lost = (((left0 ^ left1) & right) | ((right0 ^ right1) & ~right)) & SEED_BITS
        high_lost = ((high_left0 ^ high_left1) & right) | ((high_right0 ^ high_right1) & ~right)
        control_left = (left0 ^ left1 ^ side ^ _ONE) & _ONE
        control_right = (right0 ^ right1 ^ side) & _ONE
        words_N2[n, 0] = lost | control_left | (control_right << _ONE)
        words_N2[n, 1] = high_lost

        low0 = (right0 & right) | (left0 & ~right)
        low1 = (right1 & right) | (left1 & ~right)
        high0 = (high_right0 & right) | (high_left0 & ~right)
        high1 = (high_right1 & right) | (high_left1 & ~right)
        mask0 = _NONE - control_N[n]
        kept = (control_right & right) | (control_left & ~right)
        control_N[n] = (low0 & _ONE) ^ (kept & mask0)
        _spread((low0 ^ (lost & mask0)) & SEED_BITS, high0 ^ (high_lost & mask0), 0, n, inputs_GN2)
        _spread((low1 ^ (lost & ~mask0)) & SEED_BITS, high1 ^ (high_lost & ~mask0), 1, n, inputs_GN2)


def deal_path(
    permute: Permutation,
    inputs_GN2: Words,
    hashed: Words,
    control_N: Words,
    alpha_N: Words,
    bits: int,
    words_LN2: Words,
) -> None:
    """Deal the L top levels of alpha's path (of ``bits`` levels) from planted roots; ``words_LN2`` gets the words."""
    count = alpha_N.shape[0]
    four_GN2 = hashed[: 4 * count].reshape(4, count, 2)
    for level in range(words_LN2.shape[0]):
        permute(inputs_GN2[:4], hashed)
        deal_level(inputs_GN2, four_GN2, control_N, alpha_N, np.uint64(bits - 1 - level), words_LN2[level])


@njit(cache=True, nogil=True)
def spread_values(inputs_GN2: Words) -> None:
    """Write the inputs of value blocks j = 1, 2, .. to planes 2 + 2 j + party, as many as there are."""
    for plane in range(4, inputs_GN2.shape[0]):
        block = np.uint64((plane - 2) // 2) << np.uint64(2)
        for n in range(inputs_GN2.shape[1]):
            inputs_GN2[plane, n, 0] = inputs_GN2[plane & 1, n, 0] ^ block
            inputs_GN2[plane, n, 1] = inputs_GN2[plane & 1, n, 1]


# -- a party ----------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def start_walk(
    root_N2: Words, party: np.uint64, x_N: Words, shift: np.uint64, mask: np.uint64, inputs_N2: Words, control_N: Words
) -> None:
    """Write the hash inputs of the first step: a seed with the direction of x in bit 0."""
    for n in range(x_N.shape[0]):
        inputs_N2[n, 0] = (root_N2[n, 0] & SEED_BITS) ^ ((x_N[n] >> shift) & mask)
        inputs_N2[n, 1] = root_N2[n, 1]
        control_N[n] = party


@njit(cache=True, nogil=True)
def walk_level(
    inputs_N2: Words,
    hashed_N2: Words,
    words_N2: Words,
    x_N: Words,
    shift: np.uint64,
    mask: np.uint64,
    control_N: Words,
    parity_N: Words,
) -> None:
    """Step to the child that ``inputs`` names and write the inputs of the next step, directed by shift and mask.

    ``parity`` collects shares of [alpha lies under the right sibling] over the steps to the left: the control bits of
    two siblings add up to their parent's, so no hash of the sibling is needed.
    """
    for n in range(x_N.shape[0]):
        low = hashed_N2[n, 0] ^ inputs_N2[n, 0]
        side = inputs_N2[n, 0] & _ONE
        control = control_N[n]
        corrected = _NONE - control
        child = (low & _ONE) ^ ((words_N2[n, 0] >> side) & control)
        parity_N[n] ^= (control ^ child) & (side ^ _ONE)
        control_N[n] = child
        inputs_N2[n, 1] ^= hashed_N2[n, 1] ^ (words_N2[n, 1] & corrected)
        inputs_N2[n, 0] = ((low ^ (words_N2[n, 0] & corrected)) & SEED_BITS) ^ ((x_N[n] >> shift) & mask)
