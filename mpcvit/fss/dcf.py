"""Comparison with a payload: additive shares of payload * [x < alpha], no rounds.

The key of Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee, "Function Secret Sharing for Mixed-Mode and Fixed-Point
Secure Computation", Eurocrypt 2021, section 3, with one change: a level's value belongs to the node where x and alpha
may part, not to its children. x < alpha if and only if at exactly one level they share all higher bits, x has bit 0 and
alpha has bit 1. So the value block of a level opens to payload * (alpha's bit), and a party, who knows x, adds it where
x has bit 0: an incremental point function (Boneh, Boyle, Corrigan-Gibbs, Gilboa, Ishai, "Lightweight Techniques for
Private Heavy Hitters", IEEE S&P 2021). Against the paper this saves the last correction word, the last value, and half
of the dealer's value blocks.

Legend: L levels, N elements, M payload words, P points per key, G planes of block buffers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mpcvit.fss import tree
from mpcvit.fss.checks import Words, check_party, check_width, payload_width, points, roots, secrets, words
from mpcvit.fss.tree_hash import TreeHash, block_buffer

MAX_BITS = 63
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)


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
    words_LN2 = np.empty((bits - 1, alpha_N.size, 2), dtype=np.uint64)
    values_LNM = np.empty((bits, alpha_N.size, payload_words), dtype=np.uint64)
    permute = tree_hash.permutation()
    planes = 4 + 2 * ((payload_words + 1) // 2)
    hashed = block_buffer(planes * tree.CHUNK)
    for part in tree.chunks(alpha_N.size):
        count = part.stop - part.start
        inputs_GN2 = np.empty((planes, count, 2), dtype=np.uint64)
        hashed_GN2 = hashed[: planes * count].reshape(planes, count, 2)
        control_N = np.empty(count, dtype=np.uint64)
        tree.plant(root0_N2[part], root1_N2[part], inputs_GN2, control_N)
        for level in range(bits):
            shift = np.uint64(bits - 1 - level)
            tree.spread_values(inputs_GN2)
            permute(inputs_GN2, hashed)
            _deal_values(
                inputs_GN2, hashed_GN2, control_N, alpha_N[part], shift, payload_NM[part], values_LNM[level, part]
            )
            if level < bits - 1:
                tree.deal_level(inputs_GN2, hashed_GN2, control_N, alpha_N[part], shift, words_LN2[level, part])
    return words_LN2, values_LNM


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
    abreast = min(tree.CHUNK // max(count, 1), x_PN.shape[0])
    if abreast > 1:  # few keys, many points: repeat the keys, so that a batch is worth its fixed cost
        rows = -(-x_PN.shape[0] // abreast)
        padded_PN = np.zeros((rows * abreast, count), dtype=np.uint64)
        padded_PN[: x_PN.shape[0]] = x_PN
        share = evaluate(
            tree_hash,
            party,
            np.tile(root_N2, (abreast, 1)),
            np.tile(words_LN2, (1, abreast, 1)),
            np.tile(values_LNM, (1, abreast, 1)),
            padded_PN.reshape(rows, abreast * count),
            bits,
        )
        return share.reshape(-1, count, payload_words)[: x_PN.shape[0]].reshape(*x.shape, payload_words)
    share_PNM = np.zeros((x_PN.shape[0], count, payload_words), dtype=np.uint64)
    permute = tree_hash.permutation()
    planes = 1 + (payload_words + 1) // 2
    hashed = block_buffer(planes * tree.CHUNK)
    for part in tree.chunks(count):
        size = part.stop - part.start
        inputs_GN2 = np.empty((planes, size, 2), dtype=np.uint64)
        hashed_GN2 = hashed[: planes * size].reshape(planes, size, 2)
        control_N = np.empty(size, dtype=np.uint64)
        unused_N = np.zeros(size, dtype=np.uint64)
        for x_N, share_NM in zip(x_PN[:, part], share_PNM[:, part], strict=True):
            shift, mask = tree.bit_at(bits, 0, bits)
            tree.start_walk(root_N2[part], np.uint64(party), x_N, shift, mask, inputs_GN2[0], control_N)
            for level in range(bits):
                _value_inputs(inputs_GN2)
                permute(inputs_GN2, hashed)
                _add_values(inputs_GN2, hashed_GN2, control_N, values_LNM[level, part], share_NM)
                if level < bits - 1:
                    shift, mask = tree.bit_at(bits, level + 1, bits)
                    tree.walk_level(
                        inputs_GN2[0], hashed_GN2[0], words_LN2[level, part], x_N, shift, mask, control_N, unused_N
                    )
    if party == 1:
        np.negative(share_PNM, out=share_PNM)
    return share_PNM.reshape(*x.shape, payload_words)


@njit(cache=True, nogil=True)
def _deal_values(
    inputs_GN2: Words,
    hashed_GN2: Words,
    control_N: Words,
    alpha_N: Words,
    shift: np.uint64,
    payload_NM: Words,
    values_NM: Words,
) -> None:
    """Write what the parties' values lack of payload * (alpha's bit), for the party with control bit 1 to add."""
    for n in range(payload_NM.shape[0]):
        chosen = _NONE - ((alpha_N[n] >> shift) & _ONE)
        negative = control_N[n] - _ONE  # all ones if party 1, whose share counts negative, will add it
        for m in range(payload_NM.shape[1]):
            plane = 4 + 2 * (m // 2)
            half = m % 2
            value0 = hashed_GN2[plane, n, half] ^ inputs_GN2[plane, n, half]
            value1 = hashed_GN2[plane + 1, n, half] ^ inputs_GN2[plane + 1, n, half]
            values_NM[n, m] = (((payload_NM[n, m] & chosen) - value0 + value1) ^ negative) - negative


@njit(cache=True, nogil=True)
def _value_inputs(inputs_GN2: Words) -> None:
    """Write the inputs of the value blocks, planes 1, 2, .., from plane 0: a seed with a direction in bit 0."""
    for plane in range(1, inputs_GN2.shape[0]):
        block = np.uint64(plane) << _TWO
        for n in range(inputs_GN2.shape[1]):
            inputs_GN2[plane, n, 0] = (inputs_GN2[0, n, 0] & ~_ONE) ^ block
            inputs_GN2[plane, n, 1] = inputs_GN2[0, n, 1]


@njit(cache=True, nogil=True)
def _add_values(inputs_GN2: Words, hashed_GN2: Words, control_N: Words, values_NM: Words, share_NM: Words) -> None:
    """Add the corrected values of the level where x goes left."""
    for n in range(share_NM.shape[0]):
        left = (inputs_GN2[0, n, 0] & _ONE) - _ONE
        corrected = _NONE - control_N[n]
        for m in range(share_NM.shape[1]):
            plane = 1 + m // 2
            value = hashed_GN2[plane, n, m % 2] ^ inputs_GN2[plane, n, m % 2]
            share_NM[n, m] += (value + (values_NM[n, m] & corrected)) & left
