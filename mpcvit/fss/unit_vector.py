"""A payload at a secret position: additive shares of payload * onehot(alpha), the whole vector at once.

A point function with ring payload (Boyle, Gilboa, Ishai, CCS 2016, figure 1) whose tree ends one level above the
positions: a leaf holds two, so that a hash block, which is two ring words, serves one payload word without waste.
Expansion costs 2**bits - 2 AES calls for the tree and m * 2**(bits - 1) for the leaves; against one position per leaf
that is a third less at m = 3, for a key 8 m - 16 bytes longer.

Legend:

    N  elements
    M  payload words per element
    L  tree levels, bits - 1
    Q  nodes of the current level
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mpcvit.fss import tree
from mpcvit.fss.checks import Words, check_party, check_width, payload_width, roots, secrets, words
from mpcvit.fss.tree_hash import SEED_BITS, Permutation, TreeHash, block_buffer

MAX_BITS = 12
POSITIONS = 2  # per leaf
_BUFFER = 1 << 16  # ring words of a chunk's result: 512 KB, so that it stays in the cache of a core
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)


def key_bytes(bits: int, payload_words: int) -> int:
    """Return the bytes of correction words per element, the same to each party.

    The 16-byte roots come from the parties' PRGs.
    """
    return 16 * (bits - 1) + 8 * POSITIONS * payload_words


def deal(
    tree_hash: TreeHash, alpha: Words, bits: int, payload: Words, roots_of_parties: tuple[Words, Words]
) -> tuple[Words, Words]:
    """Return the correction words of N unit vectors, for both parties: (uint64[bits - 1, N, 2], uint64[N, M, 2]).

    Args:
        tree_hash: the session's hash.
        alpha: the secret positions, uint64[N], each below 2**bits.
        bits: log2 of the length of the vector, 1 to 12.
        payload: ring words, uint64[N, M], M from 1 to 64.
        roots_of_parties: uniform blocks, uint64[N, 2] each, one known to each party. Never used for another key.

    Returns:
        The words of the tree levels, and the leaf corrections.

    Raises:
        InputError: a width, value or shape is wrong.
    """
    check_width("bits", bits, 1, MAX_BITS)
    alpha_N = secrets("alpha", alpha, bits)
    root0_N2, root1_N2 = roots(roots_of_parties, alpha_N.size)
    payload_words = payload_width(payload, axis=1)
    payload_NM = words("payload", payload, (alpha_N.size, payload_words))
    words_LN2 = np.empty((bits - 1, alpha_N.size, 2), dtype=np.uint64)
    leaf_NM2 = np.empty((alpha_N.size, payload_words, POSITIONS), dtype=np.uint64)
    permute = tree_hash.permutation()
    planes = 4 + 2 * payload_words
    hashed = block_buffer(planes * tree.CHUNK)
    for part in tree.chunks(alpha_N.size):
        count = part.stop - part.start
        inputs_GN2 = np.empty((planes, count, 2), dtype=np.uint64)
        control_N = np.empty(count, dtype=np.uint64)
        tree.plant(root0_N2[part], root1_N2[part], inputs_GN2, control_N)
        tree.deal_path(permute, inputs_GN2, hashed, control_N, alpha_N[part], bits, words_LN2[:, part])
        tree.spread_values(inputs_GN2)
        permute(inputs_GN2[4:], hashed)
        values_GN2 = hashed[: (planes - 4) * count].reshape(planes - 4, count, 2)
        _deal_leaf(inputs_GN2[4:], values_GN2, control_N, alpha_N[part], payload_NM[part], leaf_NM2[part])
    return words_LN2, leaf_NM2


def expand(tree_hash: TreeHash, party: int, root: Words, correction: Words, leaf: Words, bits: int) -> Words:
    """Return this party's additive shares of payload * onehot(alpha), uint64[N, M, 2**bits].

    The parties' arrays sum to it.

    Args:
        tree_hash: the session's hash.
        party: 0 or 1.
        root: this party's roots, uint64[N, 2].
        correction: the dealt tree words, uint64[bits - 1, N, 2].
        leaf: the dealt leaf corrections, uint64[N, M, 2].
        bits: as dealt.

    Raises:
        InputError: a width or shape is wrong.
    """
    check_width("bits", bits, 1, MAX_BITS)
    check_party(party)
    count = root.shape[0]
    payload_words = payload_width(leaf, axis=1)
    root_N2 = words("root", root, (count, 2))
    words_LN2 = words("correction", correction, (bits - 1, count, 2))
    leaf_NM2 = words("leaf", leaf, (count, payload_words, POSITIONS))
    length = payload_words << bits
    flat = np.empty(count * length + 2, dtype=np.uint64)  # two words of room for the last AES call
    permute = tree_hash.permutation()
    size = max(1, _BUFFER // length)
    width = 1 << (bits - 1)  # leaves
    nodes = np.empty((2, size * width, 2), dtype=np.uint64)
    inputs = np.empty((size * width * payload_words + 1, 2), dtype=np.uint64)
    hashed = block_buffer(size * width)
    for part in tree.chunks(count, size):
        nodes_NQ2 = _grow(permute, root_N2[part], party, words_LN2[:, part], nodes, inputs, hashed)
        rows = nodes_NQ2.shape[0]
        inputs_NMQ2 = inputs[: rows * payload_words * width].reshape(rows, payload_words, width, 2)
        _value_inputs(nodes_NQ2, inputs_NMQ2)
        permute(inputs_NMQ2, flat[part.start * length :])
        share_NMQ2 = flat[part.start * length : part.stop * length].reshape(inputs_NMQ2.shape)
        _finish(nodes_NQ2, leaf_NM2[part], party == 1, share_NMQ2)
    return flat[:-2].reshape(count, payload_words, 1 << bits)


def _grow(
    permute: Permutation, root_N2: Words, party: int, words_LN2: Words, nodes: Words, inputs: Words, hashed: Words
) -> Words:
    """Return all leaf seeds of a chunk, each with its control bit in bit 0: uint64[N, 2**L, 2], a view of ``nodes``."""
    count = root_N2.shape[0]
    level_NQ2 = nodes[0, :count].reshape(count, 1, 2)
    np.bitwise_and(root_N2[:, 0], SEED_BITS, out=level_NQ2[:, 0, 0])
    level_NQ2[:, 0, 0] |= np.uint64(party)
    level_NQ2[:, 0, 1] = root_N2[:, 1]
    for level in range(words_LN2.shape[0]):
        width = 1 << level
        blocks = 2 * count * width
        inputs_NQ4 = inputs[:blocks].reshape(count, width, 4)
        _branch(level_NQ2, inputs_NQ4)
        permute(inputs_NQ4, hashed)
        children = nodes[(level + 1) % 2, :blocks]
        _correct(
            hashed[:blocks].reshape(count, width, 4), words_LN2[level], level_NQ2, children.reshape(count, width, 4)
        )
        level_NQ2 = children.reshape(count, 2 * width, 2)
    return level_NQ2


@njit(cache=True, nogil=True)
def _deal_leaf(
    inputs_GN2: Words, hashed_GN2: Words, control_N: Words, alpha_N: Words, payload_NM: Words, leaf_NM2: Words
) -> None:
    """Write what party 0's or party 1's values lack of the payload: the party with control bit 1 will add it."""
    for m in range(payload_NM.shape[1]):
        for n in range(payload_NM.shape[0]):
            negative = control_N[n] - _ONE  # all ones if party 1, whose share counts negative, will add it
            for place in range(2):
                value0 = hashed_GN2[2 * m, n, place] ^ inputs_GN2[2 * m, n, place]
                value1 = hashed_GN2[2 * m + 1, n, place] ^ inputs_GN2[2 * m + 1, n, place]
                wanted = payload_NM[n, m] if (alpha_N[n] & _ONE) == np.uint64(place) else _NONE
                leaf_NM2[n, m, place] = ((wanted - value0 + value1) ^ negative) - negative


@njit(cache=True, nogil=True)
def _branch(nodes_NQ2: Words, inputs_NQ4: Words) -> None:
    """Write the hash inputs of both children of each node."""
    for n in range(nodes_NQ2.shape[0]):
        for q in range(nodes_NQ2.shape[1]):
            seed = nodes_NQ2[n, q, 0] & SEED_BITS
            inputs_NQ4[n, q, 0] = seed
            inputs_NQ4[n, q, 1] = nodes_NQ2[n, q, 1]
            inputs_NQ4[n, q, 2] = seed ^ _ONE
            inputs_NQ4[n, q, 3] = nodes_NQ2[n, q, 1]


@njit(cache=True, nogil=True)
def _correct(hashed_NQ4: Words, words_N2: Words, nodes_NQ2: Words, children_NQ4: Words) -> None:
    """Write the corrected children of each node, left then right, seed and control bit in one."""
    for n in range(nodes_NQ2.shape[0]):
        seed = words_N2[n, 0] & SEED_BITS
        left = seed | (words_N2[n, 0] & _ONE)
        right = seed | ((words_N2[n, 0] >> _ONE) & _ONE)
        high = words_N2[n, 1]
        for q in range(nodes_NQ2.shape[1]):
            node = nodes_NQ2[n, q, 0]
            node_high = nodes_NQ2[n, q, 1]
            mask = _NONE - (node & _ONE)
            node &= SEED_BITS
            children_NQ4[n, q, 0] = (hashed_NQ4[n, q, 0] ^ node ^ (left & mask)) & ~_TWO
            children_NQ4[n, q, 1] = hashed_NQ4[n, q, 1] ^ node_high ^ (high & mask)
            children_NQ4[n, q, 2] = (hashed_NQ4[n, q, 2] ^ node ^ _ONE ^ (right & mask)) & ~_TWO
            children_NQ4[n, q, 3] = hashed_NQ4[n, q, 3] ^ node_high ^ (high & mask)


@njit(cache=True, nogil=True)
def _value_inputs(nodes_NQ2: Words, inputs_NMQ2: Words) -> None:
    """Write the hash inputs of each leaf's value blocks, in the order of the result."""
    for n in range(inputs_NMQ2.shape[0]):
        for m in range(inputs_NMQ2.shape[1]):
            block = np.uint64(m + 1) << _TWO
            for q in range(inputs_NMQ2.shape[2]):
                inputs_NMQ2[n, m, q, 0] = (nodes_NQ2[n, q, 0] & SEED_BITS) ^ block
                inputs_NMQ2[n, m, q, 1] = nodes_NQ2[n, q, 1]


@njit(cache=True, nogil=True)
def _finish(nodes_NQ2: Words, leaf_NM2: Words, negate: bool, share_NMQ2: Words) -> None:
    """Turn AES outputs into shares in place: feed-forward, leaf correction, sign of the party."""
    negative = np.uint64(0xFFFF_FFFF_FFFF_FFFF) if negate else _NONE
    for n in range(share_NMQ2.shape[0]):
        for m in range(share_NMQ2.shape[1]):
            block = np.uint64(m + 1) << _TWO
            leaf_even = leaf_NM2[n, m, 0]
            leaf_odd = leaf_NM2[n, m, 1]
            for q in range(share_NMQ2.shape[2]):
                node = nodes_NQ2[n, q, 0]
                mask = _NONE - (node & _ONE)
                even = (share_NMQ2[n, m, q, 0] ^ (node & SEED_BITS) ^ block) + (leaf_even & mask)
                odd = (share_NMQ2[n, m, q, 1] ^ nodes_NQ2[n, q, 1]) + (leaf_odd & mask)
                share_NMQ2[n, m, q, 0] = (even ^ negative) - negative
                share_NMQ2[n, m, q, 1] = (odd ^ negative) - negative
