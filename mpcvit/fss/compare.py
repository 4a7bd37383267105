"""Comparison with a secret: XOR shares of [x < alpha] from one point-function key, no rounds.

The dealer knows alpha, both parties know x. The point function of alpha summed over all points above x is [x < alpha].
The walk to x collects it: at every step to the left, the share of "alpha lies under the right sibling" comes from the
control bits; at the leaf, it is the parity of the bits above x (prefix parity: Storrier, Vadapalli, Lyons, Henry,
"Grotto", CCS 2023). A leaf holds 128 positions, so the tree ends 7 levels early (early termination: Boyle,
Gilboa, Ishai, CCS 2016) and one AES call per remaining level does.

Legend: L tree levels, N elements, P points per key.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mpcvit.fss.checks import Bytes, Words, check_party, check_width, points, roots, secrets, words
from mpcvit.fss.lanes import load, lowest_bit, store, zeros
from mpcvit.fss.tree import (
    ALL,
    CHUNK,
    GROUP,
    STATE,
    child,
    deal_level,
    direction,
    hashed,
    one,
    padded,
    plant,
    planted,
    seeds,
)
from mpcvit.fss.tree_hash import TreeHash

MAX_BITS = 63
_LEAF_BITS = 7  # 128 positions in one block
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_WORD = np.uint64(64)
_IN_WORD = np.uint64(63)
_IN_LEAF = np.uint64(127)


def levels(bits: int) -> int:
    """Return the levels of the tree above the leaves; 0 up to 7 bits."""
    return max(bits - _LEAF_BITS, 0)


def key_bytes(bits: int) -> int:
    """Return the bytes of correction words per element, the same to each party.

    The 16-byte roots come from the parties' PRGs.
    """
    return 16 * (levels(bits) + 1)


def deal(tree_hash: TreeHash, alpha: Words, bits: int, roots_of_parties: tuple[Words, Words]) -> Words:
    """Return the correction words of N comparisons, uint64[levels + 1, N, 2], for both parties.

    Args:
        tree_hash: the session's hash.
        alpha: the secrets, uint64[N], each below 2**bits.
        bits: width of alpha and of the points, 1 to 63.
        roots_of_parties: uniform blocks, uint64[N, 2] each, one known to each party. Never used for another key.

    Returns:
        One word per level with both control corrections in its two low bits; last the leaf correction.

    Raises:
        InputError: a width, value or shape is wrong.
    """
    check_width("bits", bits, 1, MAX_BITS)
    alpha_N = secrets("alpha", alpha, bits)
    root0_N2, root1_N2 = roots(roots_of_parties, alpha_N.size)
    count = max(alpha_N.size, GROUP)
    words_LN2 = np.empty((levels(bits) + 1, count, 2), dtype=np.uint64)
    root0, root1, alpha = padded(root0_N2, 0), padded(root1_N2, 0), padded(alpha_N, 0)
    _deal(tree_hash.round_keys, root0, root1, alpha, bits, words_LN2.reshape(-1))
    return words_LN2[:, : alpha_N.size]


def evaluate(tree_hash: TreeHash, party: int, root: Words, correction: Words, x: Words, bits: int) -> Bytes:
    """Return this party's XOR shares of [x < alpha], uint8 of 0 and 1 in the shape of x.

    Args:
        tree_hash: the session's hash.
        party: 0 or 1.
        root: this party's roots, uint64[N, 2].
        correction: the dealt words, uint64[levels + 1, N, 2].
        x: public points, each below 2**bits: uint64[N], or uint64[P, N] for P points per key.
        bits: as dealt.

    Raises:
        InputError: a width, value or shape is wrong.
    """
    check_width("bits", bits, 1, MAX_BITS)
    check_party(party)
    depth = levels(bits)
    count = root.shape[0]
    x_PN = points(x, count, bits)
    root_N2 = words("root", root, (count, 2))
    words_LN2 = words("correction", correction, (depth + 1, count, 2))
    share_PN = np.empty((x_PN.shape[0], max(count, GROUP)), dtype=np.uint8)
    keys, root, correction, x_of_all = tree_hash.round_keys, padded(root_N2, 0), padded(words_LN2, 1), padded(x_PN, 1)
    _evaluate(keys, np.uint64(party), root, correction, x_of_all, bits, share_PN)
    return share_PN[:, :count].reshape(x.shape)


@njit(cache=True, nogil=True)
def _deal(keys: Words, root0: Words, root1: Words, alpha: Words, bits: int, correction: Words) -> None:
    """Write the correction words of N >= 16 comparisons; all arrays are flat."""
    count, depth = alpha.shape[0], max(bits - _LEAF_BITS, 0)
    state = np.empty(2 * STATE * (CHUNK // GROUP), dtype=np.uint64)
    for start in range(0, count, CHUNK):
        groups = plant(root0, root1, start, count, state)
        for level in range(depth):
            for j in range(groups):
                n = min(start + GROUP * j, count - GROUP)
                nodes0, nodes1 = load(state, 2 * STATE * j), load(state, 2 * STATE * j + STATE)
                word, nodes0, nodes1 = deal_level(keys, nodes0, nodes1, direction(alpha, n, bits - 1 - level))
                store(correction, 2 * (level * count + n), word)
                store(state, 2 * STATE * j, nodes0)
                store(state, 2 * STATE * j + STATE, nodes1)
        for j in range(groups):
            n = min(start + GROUP * j, count - GROUP)
            at = 2 * (depth * count + n)
            leaf0 = hashed(keys, seeds(load(state, 2 * STATE * j)))
            store(correction, at, leaf0 ^ hashed(keys, seeds(load(state, 2 * STATE * j + STATE))))
            for i in range(GROUP):  # alpha's position is flipped, wherever it is: no address depends on it
                place = alpha[n + i] & _IN_LEAF
                bit, in_low = _ONE << (place & _IN_WORD), (place >> np.uint64(6)) - _ONE
                correction[at + 2 * i] ^= bit & in_low
                correction[at + 2 * i + 1] ^= bit & ~in_low


@njit(cache=True, nogil=True)
def _evaluate(
    keys: Words, party: np.uint64, root: Words, correction: Words, x: Words, bits: int, share_PN: Bytes
) -> None:
    """Write a party's shares at the points of N >= 16 keys; ``root``, ``correction`` and ``x`` are flat.

    On the way down the party collects shares of [alpha lies under the right sibling] over the steps to the left: the
    control bits of two siblings add up to their parent's, so no hash of the sibling is needed.
    """
    count, depth = share_PN.shape[1], max(bits - _LEAF_BITS, 0)
    state = np.empty(2 * STATE * (CHUNK // GROUP), dtype=np.uint64)
    leaf = np.empty(STATE, dtype=np.uint64)
    for start in range(0, count, CHUNK):
        groups = (min(CHUNK, count - start) + GROUP - 1) // GROUP
        for p in range(share_PN.shape[0]):
            for j in range(groups):
                n = min(start + GROUP * j, count - GROUP)
                store(state, 2 * STATE * j, planted(root, n, party))
                store(state, 2 * STATE * j + STATE, zeros())
            for level in range(depth):
                for j in range(groups):
                    n = min(start + GROUP * j, count - GROUP)
                    nodes, side = load(state, 2 * STATE * j), direction(x, p * count + n, bits - 1 - level)
                    below = child(keys, nodes, load(correction, 2 * (level * count + n)), side)
                    parity = load(state, 2 * STATE * j + STATE)
                    store(state, 2 * STATE * j + STATE, parity ^ ((nodes ^ below) & (side ^ one())))
                    store(state, 2 * STATE * j, below)
            for j in range(groups):
                n = min(start + GROUP * j, count - GROUP)
                nodes = load(state, 2 * STATE * j)
                correct = load(correction, 2 * (depth * count + n)) & lowest_bit(nodes)
                store(leaf, 0, hashed(keys, seeds(nodes)) ^ correct)
                for i in range(GROUP):
                    above = _parity_above(leaf[2 * i], leaf[2 * i + 1], x[p * count + n + i] & _IN_LEAF)
                    share_PN[p, n + i] = np.uint8((above ^ state[2 * STATE * j + STATE + 2 * i]) & _ONE)


@njit(cache=True, nogil=True, inline="always")
def _parity_above(low: np.uint64, high: np.uint64, place: np.uint64) -> np.uint64:
    """Return, in bit 0, the parity of a leaf's bits above a public place."""
    above = (ALL << (place & _IN_WORD)) << _ONE
    folded = (low & above) ^ high if place < _WORD else high & above
    folded ^= folded >> np.uint64(32)
    folded ^= folded >> np.uint64(16)
    folded ^= folded >> np.uint64(8)
    folded ^= folded >> np.uint64(4)
    folded ^= folded >> np.uint64(2)
    folded ^= folded >> _ONE
    return folded
