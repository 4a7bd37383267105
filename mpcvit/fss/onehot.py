"""Comparison with a secret from one-hot blocks: XOR shares of [x < alpha] without AES, in log2(blocks) rounds.

The dealer cuts alpha into blocks of ``width`` bits and XOR-shares the one-hot vector of each block, packed. For public
x, each party reads from its shares, per block and locally,

    g = [x_block < alpha_block], the parity of the one-hot bits above x_block
    p = [x_block = alpha_block], the one-hot bit at x_block

and neighbouring blocks combine as a carry does: (g, p) = (g_high xor p_high g_low, p_high p_low). Both products share
the operand p_high, so one masked bit of it serves both: the triple is (a, b_g, b_p, a b_g, a b_p). Of the node that
holds the lowest block p is never read, so it is neither kept nor multiplied. All is linear but the products, so the
steps work for any number of parties.

The caller shares what :func:`deal` and :func:`triple_products` give in clear, opens what :func:`mask_level` gives, and
packs opened bits:

    blocks       g, p = local_blocks(..)
    each level   opened = open(mask_level(g, p, a, b));  g, p = combine_level(party, opened, g, p, a, b, c)
    the end      g[0]

Legend: N elements, B blocks or nodes, lowest first, T pairs of a level (B // 2), S bytes of the packed one-hot blocks.
Bits are uint8 0 or 1 except where packed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit

from mpcvit.errors import ShapeMismatch
from mpcvit.fss.checks import Bytes, Words, check_width, octets, secrets

MAX_BITS = 63
MAX_WIDTH = 8
_ONE = np.uint64(1)


def block_widths(bits: int, width: int) -> tuple[int, ...]:
    """Return the bits of each block, lowest first; the top block may be narrower.

    Raises:
        InputError: bits is not 1 to 63, or width not 1 to 8.
    """
    check_width("bits", bits, 1, MAX_BITS)
    check_width("block width", width, 1, MAX_WIDTH)
    return tuple(min(width, bits - start) for start in range(0, bits, width))


def block_bytes(block_width: int) -> int:
    """Return the bytes of one packed one-hot block: 2**block_width bits, at least one byte."""
    return max(1, (1 << block_width) // 8)


def key_bytes(bits: int, width: int) -> int:
    """Return the bytes of packed one-hot blocks per element; all parties but one draw theirs from their PRGs."""
    return sum(block_bytes(one) for one in block_widths(bits, width))


def pairs_per_level(bits: int, width: int) -> tuple[int, ...]:
    """Return the pairs combined at each level, one round each; empty if one block holds all bits."""
    pairs, nodes = [], len(block_widths(bits, width))
    while nodes > 1:
        pairs.append(nodes // 2)
        nodes -= nodes // 2
    return tuple(pairs)


def and_gates(pairs: int) -> int:
    """Return the products of a level per element: two for each pair, but one for the pair that holds the lowest
    block.
    """
    return 2 * pairs - 1


def opened_bits(pairs: int) -> int:
    """Return the bits that each party sends at a level per element: a masked p_high for each pair, a masked bit per
    product.
    """
    return pairs + and_gates(pairs)


def deal(alpha: Words, bits: int, width: int) -> Bytes:
    """Return the one-hot blocks of N secrets in clear, packed, uint8[N, key_bytes]; to be XOR-shared by the caller.

    Blocks follow each other from the lowest; bit j of a block is bit j % 8 of its byte j // 8.

    Args:
        alpha: the secrets, uint64[N], each below 2**bits.
        bits: width of alpha and of the points, 1 to 63.
        width: bits per block, 1 to 8.

    Raises:
        InputError: a width, value or shape is wrong.
    """
    widths = block_widths(bits, width)
    alpha_N = secrets("alpha", alpha, bits)
    packed_NS = np.zeros((alpha_N.size, key_bytes(bits, width)), dtype=np.uint8)
    for block, start, one in _blocks(widths, width):
        _set_bit(alpha_N, np.uint64(block * width), np.uint64((1 << one) - 1), packed_NS[:, start:])
    return packed_NS


def triple_products(a: Bytes, b: Bytes) -> Bytes:
    """Return the products c of the triples of one level, in clear: uint8[and_gates, N].

    Args:
        a: masks of each pair's p_high, uint8[T, N].
        b: masks of the g_low of each pair, then of the p_low of each pair but the first, uint8[2 T - 1, N].

    Raises:
        ShapeMismatch: a shape or dtype is wrong.
    """
    a_TN, b_2N = _triple(a, b, a.shape[0] if a.ndim == 2 else 0)
    return _both(a_TN) & b_2N


def local_blocks(packed: Bytes, x: Words, bits: int, width: int) -> tuple[Bytes, Bytes]:
    """Return shares of g of each block, uint8[B, N], and of p of each block but the lowest, uint8[B - 1, N].

    Args:
        packed: this party's share of the one-hot blocks, uint8[N, key_bytes].
        x: public points, uint64[N], each below 2**bits.
        bits: as dealt.
        width: as dealt.

    Raises:
        InputError: a width, value or shape is wrong.
    """
    widths = block_widths(bits, width)
    count = packed.shape[0]
    packed_NS = octets("packed", packed, (count, key_bytes(bits, width)))
    x_N = secrets("x", x, bits)
    if x_N.size != count:
        raise ShapeMismatch(f"{x_N.size} points", expected=f"{count}", remedy="Pass one point per key.")
    g_BN = np.empty((len(widths), count), dtype=np.uint8)
    p_BN = np.empty((len(widths), count), dtype=np.uint8)
    for block, start, one in _blocks(widths, width):
        part_NS = packed_NS[:, start : start + block_bytes(one)]
        _read_block(part_NS, x_N, np.uint64(block * width), np.uint64((1 << one) - 1), g_BN[block], p_BN[block])
    return g_BN, p_BN[1:]


def mask_level(g: Bytes, p: Bytes, a: Bytes, b: Bytes) -> Bytes:
    """Return this party's share of the bits to open at a level, uint8[opened_bits, N].

    XOR of all shares is the opening.

    Args:
        g: shares of g of the level's nodes, uint8[B, N].
        p: shares of p of the nodes but the lowest, uint8[B - 1, N].
        a: shares of the masks of p_high, uint8[T, N] with T = B // 2.
        b: shares of the masks of g_low and p_low, uint8[2 T - 1, N].

    Raises:
        ShapeMismatch: a shape or dtype is wrong, or nothing is left to combine.
    """
    g_BN, p_BN = _nodes(g, p)
    pairs = g_BN.shape[0] // 2
    a_TN, b_2N = _triple(a, b, pairs)
    opened = np.empty((opened_bits(pairs), g_BN.shape[1]), dtype=np.uint8)
    np.bitwise_xor(p_BN[0 : 2 * pairs : 2], a_TN, out=opened[:pairs])
    np.bitwise_xor(g_BN[0 : 2 * pairs : 2], b_2N[:pairs], out=opened[pairs : 2 * pairs])
    np.bitwise_xor(p_BN[1 : 2 * pairs - 2 : 2], b_2N[pairs:], out=opened[2 * pairs :])
    return opened


def combine_level(party: int, opened: Bytes, g: Bytes, p: Bytes, a: Bytes, b: Bytes, c: Bytes) -> tuple[Bytes, Bytes]:
    """Return shares of g and p of the next level's nodes, uint8[B - T, N] and uint8[B - T - 1, N].

    Args:
        party: this party's number; party 0 adds the public product of the openings.
        opened: the opened bits, uint8[opened_bits, N].
        g, p, a, b: as given to :func:`mask_level`.
        c: shares of the triples' products, uint8[2 T - 1, N].

    Raises:
        ShapeMismatch: a shape or dtype is wrong.
    """
    g_BN, p_BN = _nodes(g, p)
    pairs, count = g_BN.shape[0] // 2, g_BN.shape[1]
    a_TN, b_2N = _triple(a, b, pairs)
    c_2N = octets("c", c, (and_gates(pairs), count))
    opened = octets("opened", opened, (opened_bits(pairs), count))
    high, low = _both(opened[:pairs]), opened[pairs:]
    product = c_2N ^ (high & b_2N) ^ (_both(a_TN) & low)
    if party == 0:
        product ^= high & low
    carried = g_BN.shape[0] % 2  # an odd top node goes up as it is
    g_next = np.concatenate([g_BN[1 : 2 * pairs : 2] ^ product[:pairs], g_BN[2 * pairs :]])
    p_next = np.concatenate([product[pairs:], p_BN[p_BN.shape[0] - carried :]])
    return g_next, p_next


def _blocks(widths: tuple[int, ...], width: int) -> Iterator[tuple[int, int, int]]:
    """Yield (block, first byte, bits) of each block."""
    for block, one in enumerate(widths):
        yield block, block * block_bytes(width), one


def _both(first: Bytes) -> Bytes:
    """Return the rows of the pairs' first operand for all products: for g of each pair, then for p of each pair but the
    first.
    """
    return np.concatenate([first, first[1:]])


def _nodes(g: Bytes, p: Bytes) -> tuple[Bytes, Bytes]:
    if g.ndim != 2 or g.shape[0] < 2:
        raise ShapeMismatch(f"g as {list(g.shape)}", expected="two nodes or more", remedy="Stop when one node is left.")
    return octets("g", g, g.shape), octets("p", p, (g.shape[0] - 1, g.shape[1]))


def _triple(a: Bytes, b: Bytes, pairs: int) -> tuple[Bytes, Bytes]:
    if a.ndim != 2 or pairs < 1:
        raise ShapeMismatch(
            f"a as {list(a.shape)}", expected="[pairs, N]", remedy="Deal one row per pair of the level."
        )
    return octets("a", a, (pairs, a.shape[1])), octets("b", b, (and_gates(pairs), a.shape[1]))


@njit(cache=True, nogil=True)
def _set_bit(alpha_N: Words, shift: np.uint64, mask: np.uint64, packed_NS: Bytes) -> None:
    for n in range(alpha_N.shape[0]):
        place = (alpha_N[n] >> shift) & mask
        packed_NS[n, place >> np.uint64(3)] = np.uint8(_ONE << (place & np.uint64(7)))


@njit(cache=True, nogil=True)
def _read_block(packed_NS: Bytes, x_N: Words, shift: np.uint64, mask: np.uint64, g_N: Bytes, p_N: Bytes) -> None:
    for n in range(x_N.shape[0]):
        place = (x_N[n] >> shift) & mask
        byte = np.int64(place >> np.uint64(3))
        bit = place & np.uint64(7)
        # the last block's spare bits, if it has fewer than 8, are random in a share and cancel between parties
        here = np.uint64(packed_NS[n, byte])
        folded = here >> bit >> _ONE
        for above in range(byte + 1, packed_NS.shape[1]):
            folded ^= np.uint64(packed_NS[n, above])
        folded ^= folded >> np.uint64(4)
        folded ^= folded >> np.uint64(2)
        folded ^= folded >> _ONE
        g_N[n] = np.uint8(folded & _ONE)
        p_N[n] = np.uint8((here >> bit) & _ONE)
