"""Comparison with a payload: additive shares of payload * [x < alpha], no rounds.

The key of Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee, "Function Secret Sharing for Mixed-Mode and Fixed-Point
Secure Computation", Eurocrypt 2021, section 3, with one change: a level's value belongs to the node where x and alpha
may part, not to its children. x < alpha if and only if at exactly one level they share all higher bits, x has bit 0 and
alpha has bit 1. So the value block of a level opens to payload * (alpha's bit), and a party, who knows x, adds it where
x has bit 0: an incremental point function (Boneh, Boyle, Corrigan-Gibbs, Gilboa, Ishai, "Lightweight Techniques for
Private Heavy Hitters", IEEE S&P 2021). Against the paper this saves the last correction word, the last value, and half
of the dealer's value blocks.

Legend: L levels, N elements, M payload words, P points per key.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from mpcvit.fss.checks import Words, check_party, check_width, payload_width, points, roots, secrets, words
from mpcvit.fss.lanes import (
    load,
    load_low_rows,
    load_rows,
    lowest_bit,
    store,
    store_low_rows,
    store_rows,
    zeros,
)
from mpcvit.fss.tree import (
    CHUNK,
    GROUP,
    STATE,
    child,
    deal_level,
    direction,
    everything,
    padded,
    plant,
    planted,
    value,
)
from mpcvit.fss.tree_hash import TreeHash

MAX_BITS = 63
#: With fewer keys that are read at several points, keys are repeated, so that whole groups are worth their fixed cost.
_FEW = 128
_NONE = np.uint64(0)
_ONE = np.uint64(1)


def key_bytes(bits: int, payload_words: int) -> int:
    """Return the bytes of corrections per element, the same to each party.

    The 16-byte roots come from the parties' PRGs.
    """
    return 16 * (bits - 1) + 8 * bits * payload_words


def deal(
    tree_hash: TreeHash, alpha: Words, bits: int, payload: Words, roots_of_parties: tuple[Words, Words]
) -> tuple[Words, Words]:
    """Return the corrections of N comparisons, for both parties: (uint64[bits - 1, N, 2], uint64[bits, N, M]).

    Args:
        tree_hash: the session's hash.
        alpha: the secrets, uint64[N], each below 2**bits.
        bits: width of alpha and of the points, 1 to 63.
        payload: ring words, uint64[N, M], M from 1 to 64; secret too.
        roots_of_parties: uniform blocks, uint64[N, 2] each, one known to each party. Never used for another key.

    Returns:
        The correction words of the tree, and the value corrections of each depth.

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
    values_LNM = np.empty((bits, count, payload_words), dtype=np.uint64)
    root0, root1, alpha, flat_payload = (padded(array, 0) for array in (root0_N2, root1_N2, alpha_N, payload_NM))
    _deal(tree_hash.round_keys, root0, root1, alpha, flat_payload, bits, words_LN2.reshape(-1), values_LNM.reshape(-1))
    return words_LN2[:, : alpha_N.size], values_LNM[:, : alpha_N.size]


def evaluate(
    tree_hash: TreeHash, party: int, root: Words, correction: Words, values: Words, x: Words, bits: int
) -> Words:
    """Return this party's additive shares of payload * [x < alpha]; the parties' arrays sum to it.

    Args:
        tree_hash: the session's hash.
        party: 0 or 1.
        root: this party's roots, uint64[N, 2].
        correction: the dealt words, uint64[bits - 1, N, 2].
        values: the dealt value corrections, uint64[bits, N, M].
        x: public points, each below 2**bits: uint64[N], or uint64[P, N] for P points per key.
        bits: as dealt.

    Returns:
        uint64[N, M], or uint64[P, N, M].

    Raises:
        InputError: a width, value or shape is wrong.
    """
    check_width("bits", bits, 1, MAX_BITS)
    check_party(party)
    count = root.shape[0]
    x_PN = points(x, count, bits)
    root_N2 = words("root", root, (count, 2))
    words_LN2 = words("correction", correction, (bits - 1, count, 2))
    payload_words = payload_width(values, axis=2)
    values_LNM = words("values", values, (bits, count, payload_words))
    abreast = min(-(-_FEW // max(count, 1)), x_PN.shape[0])
    if abreast > 1:
        rows = -(-x_PN.shape[0] // abreast)
        padded_PN = np.zeros((rows * abreast, count), dtype=np.uint64)
        padded_PN[: x_PN.shape[0]] = x_PN
        root_N2, words_LN2 = np.tile(root_N2, (abreast, 1)), np.tile(words_LN2, (1, abreast, 1))
        values_LNM, points_PN = np.tile(values_LNM, (1, abreast, 1)), padded_PN.reshape(rows, abreast * count)
    else:
        points_PN = x_PN
    share_PNM = np.empty((len(points_PN), max(points_PN.shape[1], GROUP), payload_words), dtype=np.uint64)
    keys, root, flat_points = tree_hash.round_keys, padded(root_N2, 0), padded(points_PN, 1)
    correction, flat_values = padded(words_LN2, 1), padded(values_LNM, 1)
    _evaluate(keys, np.uint64(party), root, correction, flat_values, flat_points, bits, share_PNM)
    share = share_PNM[:, : points_PN.shape[1]].reshape(len(points_PN) * max(abreast, 1), count, payload_words)
    return share[: x_PN.shape[0]].reshape(*x.shape, payload_words)


@njit(cache=True, nogil=True, inline="always")
def _pair_of_words(array: Words, at: int, pair: int, count: int) -> Any:
    """Return words 2 pair and 2 pair + 1 of 16 rows of ``count`` words; one that a row lacks is 0."""
    if count == 2:
        return load(array, at)
    if 2 * pair + 1 < count:
        return load_rows(array, at + 2 * pair, count)
    return load_low_rows(array, at + 2 * pair, count)


@njit(cache=True, nogil=True, inline="always")
def _store_pair_of_words(array: Words, at: int, pair: int, count: int, blocks: Any) -> None:
    if count == 2:
        store(array, at, blocks)
    elif 2 * pair + 1 < count:
        store_rows(array, at + 2 * pair, count, blocks)
    else:
        store_low_rows(array, at + 2 * pair, count, blocks)


@njit(cache=True, nogil=True)
def _deal(
    keys: Words,
    root0: Words,
    root1: Words,
    alpha: Words,
    payload: Words,
    bits: int,
    correction: Words,
    values: Words,
) -> None:
    """Write the corrections of N >= 16 comparisons; all arrays are flat.

    A level's values lack payload * (alpha's bit): the party with control bit 1 will add it.
    """
    count = alpha.shape[0]
    payload_words = payload.shape[0] // count
    state = np.empty(2 * STATE * (CHUNK // GROUP), dtype=np.uint64)
    for start in range(0, count, CHUNK):
        groups = plant(root0, root1, start, count, state)
        for level in range(bits):
            for j in range(groups):
                n = min(start + GROUP * j, count - GROUP)
                nodes0, nodes1 = load(state, 2 * STATE * j), load(state, 2 * STATE * j + STATE)
                side = direction(alpha, n, bits - 1 - level)
                chosen = lowest_bit(side)
                negative = lowest_bit(nodes0) ^ everything()  # if party 1, whose share counts negative, will add it
                for pair in range((payload_words + 1) // 2):
                    wanted = _pair_of_words(payload, payload_words * n, pair, payload_words) & chosen
                    lacking = wanted - value(keys, nodes0, pair + 1) + value(keys, nodes1, pair + 1)
                    signed = (lacking ^ negative) - negative
                    _store_pair_of_words(values, payload_words * (level * count + n), pair, payload_words, signed)
                if level < bits - 1:
                    word, nodes0, nodes1 = deal_level(keys, nodes0, nodes1, side)
                    store(correction, 2 * (level * count + n), word)
                    store(state, 2 * STATE * j, nodes0)
                    store(state, 2 * STATE * j + STATE, nodes1)


@njit(cache=True, nogil=True, inline="always")
def _add_values(
    keys: Words, nodes: Any, side: Any, values: Words, element: int, payload_words: int, total: Words, to: int
) -> None:
    """Add the corrected values of a group's nodes, where x goes left, to what begins at word ``to`` of ``total``."""
    left, corrected = lowest_bit(side) ^ everything(), lowest_bit(nodes)
    for pair in range((payload_words + 1) // 2):
        lacking = _pair_of_words(values, payload_words * element, pair, payload_words)
        found = value(keys, nodes, pair + 1) + (lacking & corrected)
        store(total, to + STATE * pair, load(total, to + STATE * pair) + (found & left))


@njit(cache=True, nogil=True, inline="always")
def _write_shares(total: Words, start: int, party: np.uint64, payload_words: int, share: Words, at: int) -> None:
    """Write a group's sums, negated if they are party 1's."""
    for pair in range((payload_words + 1) // 2):
        found = load(total, start + STATE * pair)
        if party == _ONE:
            found = zeros() - found
        _store_pair_of_words(share, at, pair, payload_words, found)


@njit(cache=True, nogil=True)
def _evaluate(
    keys: Words,
    party: np.uint64,
    root: Words,
    correction: Words,
    values: Words,
    x: Words,
    bits: int,
    share_PNM: Words,
) -> None:
    """Write a party's shares at the points of N >= 16 keys: the corrected values of the levels where x goes left.

    All arrays but ``share_PNM`` are flat.
    """
    count, payload_words = share_PNM.shape[1], share_PNM.shape[2]
    pairs = (payload_words + 1) // 2
    share = share_PNM.reshape(-1)
    state = np.empty(STATE * (CHUNK // GROUP), dtype=np.uint64)
    total = np.empty(STATE * (CHUNK // GROUP) * pairs, dtype=np.uint64)
    for start in range(0, count, CHUNK):
        groups = (min(CHUNK, count - start) + GROUP - 1) // GROUP
        for p in range(share_PNM.shape[0]):
            for j in range(groups):
                store(state, STATE * j, planted(root, min(start + GROUP * j, count - GROUP), party))
                for pair in range(pairs):
                    store(total, STATE * (j * pairs + pair), zeros())
            for level in range(bits):
                for j in range(groups):
                    n = min(start + GROUP * j, count - GROUP)
                    nodes, side = load(state, STATE * j), direction(x, p * count + n, bits - 1 - level)
                    at = level * count + n
                    _add_values(keys, nodes, side, values, at, payload_words, total, STATE * pairs * j)
                    if level < bits - 1:
                        store(state, STATE * j, child(keys, nodes, load(correction, 2 * at), side))
            for j in range(groups):
                n = min(start + GROUP * j, count - GROUP)
                _write_shares(total, STATE * pairs * j, party, payload_words, share, payload_words * (p * count + n))
