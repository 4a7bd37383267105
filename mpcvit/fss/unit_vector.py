"""A payload at a secret position: additive shares of payload * onehot(alpha), the whole vector at once.

A point function with ring payload (Boyle, Gilboa, Ishai, CCS 2016, figure 1) whose tree ends one level above the
positions: a leaf holds two, so that a hash block, which is two ring words, serves one payload word without waste.
Expansion costs 2**bits - 2 AES calls for the tree and m * 2**(bits - 1) for the leaves; against one position per leaf
that is a third less at m = 3, for a key 8 m - 16 bytes longer.

Legend: N elements, M payload words per element, L tree levels (bits - 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from mpcvit.fss.checks import Words, check_party, check_width, payload_width, roots, secrets, words
from mpcvit.fss.lanes import (
    all_of_low_words,
    in_all_blocks,
    load,
    load_each_4_times,
    load_each_8_times,
    load_each_twice,
    load_low_rows,
    load_one_16_times,
    low_in_both,
    lowest_bit,
    ones_of_odd_blocks,
    store,
    store_rows,
)
from mpcvit.fss.tree import GROUP, STATE, child, deal_level, direction, everything, padded, planted, seeds, value
from mpcvit.fss.tree_hash import TreeHash

MAX_BITS = 12
POSITIONS = 2  # per leaf
#: Elements that are expanded together: a group holds both children of each.
TOGETHER = GROUP // 2
_NONE = np.uint64(0)
_ONE = np.uint64(1)


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
    count = max(alpha_N.size, GROUP)
    words_LN2 = np.empty((bits - 1, count, 2), dtype=np.uint64)
    leaf_NM2 = np.empty((count, payload_words, POSITIONS), dtype=np.uint64)
    root0, root1, alpha, flat_payload = (padded(array, 0) for array in (root0_N2, root1_N2, alpha_N, payload_NM))
    _deal(tree_hash.round_keys, root0, root1, alpha, flat_payload, bits, words_LN2.reshape(-1), leaf_NM2.reshape(-1))
    return words_LN2[:, : alpha_N.size], leaf_NM2[: alpha_N.size]


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
    share_NMK = np.empty((max(count, GROUP), payload_words, 1 << bits), dtype=np.uint64)
    keys, root, correction, flat_leaf = (
        tree_hash.round_keys,
        padded(root_N2, 0),
        padded(words_LN2, 1),
        padded(leaf_NM2, 0),
    )
    _expand(keys, np.uint64(party), root, correction, flat_leaf, bits - 1, share_NMK)
    return share_NMK[:count]


@njit(cache=True, nogil=True)
def _deal(
    keys: Words,
    root0: Words,
    root1: Words,
    alpha: Words,
    payload: Words,
    bits: int,
    correction: Words,
    leaf: Words,
) -> None:
    """Write the corrections of N >= 16 unit vectors; all arrays are flat.

    A leaf's values lack the payload: the party with control bit 1 will add it.
    """
    count = alpha.shape[0]
    payload_words = payload.shape[0] // count
    for start in range(0, count, GROUP):
        n = min(start, count - GROUP)
        nodes0, nodes1 = planted(root0, n, _NONE), planted(root1, n, _NONE)
        for level in range(bits - 1):
            word, nodes0, nodes1 = deal_level(keys, nodes0, nodes1, direction(alpha, n, bits - 1 - level))
            store(correction, 2 * (level * count + n), word)
        negative = lowest_bit(nodes0) ^ everything()  # if party 1, whose share counts negative, will add it
        here = lowest_bit(direction(alpha, n, 0)) ^ all_of_low_words()
        for m in range(payload_words):
            wanted = low_in_both(load_low_rows(payload, payload_words * n + m, payload_words)) & here
            lacking = wanted - value(keys, nodes0, m + 1) + value(keys, nodes1, m + 1)
            signed = (lacking ^ negative) - negative
            store_rows(leaf, POSITIONS * (payload_words * n + m), POSITIONS * payload_words, signed)


@njit(cache=True, nogil=True)
def _grow(
    keys: Words, party: np.uint64, root: Words, correction: Words, depth: int, count: int, n: int, nodes: Words
) -> None:
    """Write all leaves of eight elements from element n on, in the order of their positions.

    In place: the children go where their parent and its right neighbour were, the last ones first. Without levels every
    root is written twice.
    """
    roots_twice = seeds(load_each_twice(root, 2 * n)) | in_all_blocks(party, _NONE)
    if depth == 0:
        store(nodes, 0, roots_twice)
        return
    sides = ones_of_odd_blocks()
    store(nodes, 0, child(keys, roots_twice, load_each_twice(correction, 2 * n), sides))
    if depth > 1:
        for i in range(1, -1, -1):
            words_of_level = load_each_4_times(correction, 2 * (count + n + 4 * i))
            store(nodes, STATE * i, child(keys, load_each_twice(nodes, GROUP * i), words_of_level, sides))
    if depth > 2:
        for i in range(3, -1, -1):
            words_of_level = load_each_8_times(correction, 2 * (2 * count + n + 2 * i))
            store(nodes, STATE * i, child(keys, load_each_twice(nodes, GROUP * i), words_of_level, sides))
    for level in range(3, depth):
        each = 1 << (level - 3)
        for e in range(TOGETHER - 1, -1, -1):
            words_of_level = load_one_16_times(correction, 2 * (level * count + n + e))
            for i in range(e * each + each - 1, e * each - 1, -1):
                store(nodes, STATE * i, child(keys, load_each_twice(nodes, GROUP * i), words_of_level, sides))


@njit(cache=True, nogil=True, inline="always")
def _with_sign(blocks: Any, party: np.uint64) -> Any:
    """Return shares of party 0 as they are, and of party 1 negated."""
    negative = in_all_blocks(_NONE - party, _NONE - party)
    return (blocks ^ negative) - negative


@njit(cache=True, nogil=True)
def _expand(
    keys: Words, party: np.uint64, root: Words, correction: Words, leaf: Words, depth: int, share_NMK: Words
) -> None:
    """Write a party's vectors of N >= 16 elements; all other arrays are flat."""
    count, payload_words, positions = share_NMK.shape
    share, nodes, values = share_NMK.reshape(-1), room_for_nodes(depth), room_for_values()
    for start in range(0, count, TOGETHER):
        n = min(start, count - TOGETHER)
        vectors = share[n * payload_words * positions :]
        expand_group(keys, party, root, correction, leaf, depth, count, n, nodes, values, vectors)


@njit(cache=True, nogil=True)
def room_for_nodes(depth: int) -> Words:
    """Return what :func:`expand_group` keeps nodes in."""
    return np.empty(max(STATE * 4, STATE * (1 << depth) // 2), dtype=np.uint64)


@njit(cache=True, nogil=True)
def room_for_values() -> Words:
    """Return what :func:`expand_group` keeps value blocks in."""
    return np.empty(STATE * 4, dtype=np.uint64)


@njit(cache=True, nogil=True)
def expand_group(
    keys: Words,
    party: np.uint64,
    root: Words,
    correction: Words,
    leaf: Words,
    depth: int,
    count: int,
    n: int,
    nodes: Words,
    values: Words,
    vectors: Words,
) -> None:
    """Write a party's vectors of the elements n to n + TOGETHER - 1 of ``count``: [TOGETHER, M, 2**bits], flat."""
    payload_words, leaves = leaf.shape[0] // (POSITIONS * count), 1 << depth
    _grow(keys, party, root, correction, depth, count, n, nodes)
    for m in range(payload_words):
        if depth >= 4:
            _read_groups(keys, party, nodes, leaf, leaves, payload_words, m, n, vectors)
        else:
            _read_leaves(keys, party, nodes, leaf, leaves, payload_words, m, n, vectors, values)


@njit(cache=True, nogil=True, inline="always")
def _read_groups(
    keys: Words,
    party: np.uint64,
    nodes: Words,
    leaf: Words,
    leaves: int,
    payload_words: int,
    m: int,
    n: int,
    vectors: Words,
) -> None:
    """Write one payload word's vectors, each of whole groups of leaves."""
    for e in range(TOGETHER):
        row, to = (n + e) * payload_words + m, POSITIONS * leaves * (e * payload_words + m)
        lacking = in_all_blocks(leaf[POSITIONS * row], leaf[POSITIONS * row + 1])
        for i in range(leaves // GROUP):
            of_leaves = load(nodes, POSITIONS * leaves * e + STATE * i)
            found = value(keys, of_leaves, m + 1) + (lacking & lowest_bit(of_leaves))
            store(vectors, to + STATE * i, _with_sign(found, party))


@njit(cache=True, nogil=True)
def _read_leaves(
    keys: Words,
    party: np.uint64,
    nodes: Words,
    leaf: Words,
    leaves: int,
    payload_words: int,
    m: int,
    n: int,
    vectors: Words,
    values: Words,
) -> None:
    """Write one payload word's vectors, each of fewer than 16 leaves, leaf by leaf."""
    apart = 4 if leaves == 1 else 2  # words from a leaf to the next: roots are there twice
    for i in range((apart * leaves * TOGETHER + STATE - 1) // STATE):
        store(values, STATE * i, value(keys, load(nodes, STATE * i), m + 1))
    for e in range(TOGETHER):
        row, to = (n + e) * payload_words + m, POSITIONS * leaves * (e * payload_words + m)
        for q in range(leaves):
            at = apart * (e * leaves + q)
            corrected = _NONE - (nodes[at] & _ONE)
            for place in range(POSITIONS):
                found = values[at + place] + (leaf[POSITIONS * row + place] & corrected)
                vectors[to + POSITIONS * q + place] = _NONE - found if party == _ONE else found
