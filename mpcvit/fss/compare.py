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

from mpcvit.fss import tree
from mpcvit.fss.checks import Bytes, Words, check_party, check_width, points, roots, secrets, words
from mpcvit.fss.tree_hash import TreeHash, block_buffer

MAX_BITS = 63
_LEAF_BITS = 7  # 128 positions in one block
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_WORD = np.uint64(64)
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
    words_LN2 = np.empty((levels(bits) + 1, alpha_N.size, 2), dtype=np.uint64)
    permute = tree_hash.permutation()
    hashed = block_buffer(4 * tree.CHUNK)
    for part in tree.chunks(alpha_N.size):
        count = part.stop - part.start
        inputs_GN2 = np.empty((4, count, 2), dtype=np.uint64)
        control_N = np.empty(count, dtype=np.uint64)
        tree.plant(root0_N2[part], root1_N2[part], inputs_GN2, control_N)
        tree.deal_path(permute, inputs_GN2, hashed, control_N, alpha_N[part], bits, words_LN2[:-1, part])
        permute(inputs_GN2[:2], hashed)
        _deal_leaf(inputs_GN2, hashed[: 2 * count].reshape(2, count, 2), alpha_N[part], words_LN2[-1, part])
    return words_LN2


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
    permute = tree_hash.permutation()
    share_PN = np.empty(x_PN.shape, dtype=np.uint8)
    hashed = block_buffer(tree.CHUNK)
    for part in tree.chunks(count):
        size = part.stop - part.start
        inputs_N2 = np.empty((size, 2), dtype=np.uint64)
        control_N = np.empty(size, dtype=np.uint64)
        for x_N, share_N in zip(x_PN[:, part], share_PN[:, part], strict=True):
            parity_N = np.zeros(size, dtype=np.uint64)
            shift, mask = tree.bit_at(bits, 0, depth)
            tree.start_walk(root_N2[part], np.uint64(party), x_N, shift, mask, inputs_N2, control_N)
            for level in range(depth):
                permute(inputs_N2, hashed)
                shift, mask = tree.bit_at(bits, level + 1, depth)
                tree.walk_level(inputs_N2, hashed, words_LN2[level, part], x_N, shift, mask, control_N, parity_N)
            permute(inputs_N2, hashed)
            _read_leaf(inputs_N2, hashed, words_LN2[depth, part], x_N, control_N, parity_N, share_N)
    return share_PN.reshape(x.shape)


@njit(cache=True, nogil=True)
def _deal_leaf(inputs_GN2: Words, hashed_GN2: Words, alpha_N: Words, words_N2: Words) -> None:
    """Write the difference of the two leaf blocks, with alpha's position flipped."""
    for n in range(alpha_N.shape[0]):
        place = alpha_N[n] & _IN_LEAF
        for half in range(2):
            block = hashed_GN2[0, n, half] ^ inputs_GN2[0, n, half] ^ hashed_GN2[1, n, half] ^ inputs_GN2[1, n, half]
            here = (place >> np.uint64(6)) == np.uint64(half)
            words_N2[n, half] = block ^ (_ONE << (place & np.uint64(63)) if here else _NONE)


@njit(cache=True, nogil=True)
def _read_leaf(
    inputs_N2: Words, hashed_N2: Words, words_N2: Words, x_N: Words, control_N: Words, parity_N: Words, share_N: Bytes
) -> None:
    """Add the parity of the leaf bits above x to what the walk collected."""
    for n in range(x_N.shape[0]):
        corrected = _NONE - control_N[n]
        place = x_N[n] & _IN_LEAF
        above = (_ALL << (place & np.uint64(63))) << _ONE
        low = hashed_N2[n, 0] ^ inputs_N2[n, 0] ^ (words_N2[n, 0] & corrected)
        high = hashed_N2[n, 1] ^ inputs_N2[n, 1] ^ (words_N2[n, 1] & corrected)
        folded = (low & above) ^ high if place < _WORD else high & above
        folded ^= folded >> np.uint64(32)
        folded ^= folded >> np.uint64(16)
        folded ^= folded >> np.uint64(8)
        folded ^= folded >> np.uint64(4)
        folded ^= folded >> np.uint64(2)
        folded ^= folded >> _ONE
        share_N[n] = np.uint8((folded ^ parity_N[n]) & _ONE)
