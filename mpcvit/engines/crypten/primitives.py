"""CrypTen's protocols on ring codes, each beside the list of correlations that it consumes.

Products are exact mod 2**64; only :func:`truncate` rounds. ``n`` is the number of parties.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch

from mpcvit.engines.crypten.correlations import (
    AndTriple,
    BitPair,
    Correlation,
    Product,
    ProductTriple,
    SquarePair,
    WrapPair,
)
from mpcvit.engines.shared import Shared, shared
from mpcvit.ops.types import Shape

#: Levels of CrypTen's carry tree over 64-bit words.
_ADDER_LEVELS = 6


def multiply(left: Shared, right: Shared) -> Shared:
    """Return the elementwise product with broadcasting, exact. 1 round."""
    return Shared(_context().beaver.mul(left.tensor, right.tensor))


def multiply_correlations(left: Shape, right: Shape) -> list[Correlation]:
    """Return what :func:`multiply` consumes for operands of these shapes."""
    return [ProductTriple(Product.MUL, left, right)]


def matmul(left: Shared, right: Shared) -> Shared:
    """Return the matrix product over the last two axes, batched over the others, exact. 1 round."""
    return Shared(_context().beaver.matmul(left.tensor, right.tensor))


def matmul_correlations(left: Shape, right: Shape) -> list[Correlation]:
    """Return what :func:`matmul` consumes for operands of these shapes."""
    return [ProductTriple(Product.MATMUL, left, right)]


def square(value: Shared) -> Shared:
    """Return the elementwise square, exact. 1 round."""
    return Shared(_context().beaver.square(value.tensor))


def square_correlations(shape: Shape) -> list[Correlation]:
    """Return what :func:`square` consumes for this shape."""
    return [SquarePair(shape)]


def truncate(value: Shared, bits: int) -> Shared:
    """Return round(value / 2**bits), off by at most :func:`truncation_error`.

    Wrong by 2**(64 - bits) with :func:`wrap_probability`, silently.

    0 rounds for 2 parties (each truncates its share), 1 round for more (CrypTen's wrap count).
    """
    rounded: Any = value.tensor + (1 << (bits - 1))
    return Shared(rounded.div_(1 << bits))


def truncate_correlations(shape: Shape, parties: int) -> list[Correlation]:
    """Return what :func:`truncate` consumes for this shape."""
    return [] if parties == 2 else [WrapPair(shape)]


def truncation_error(parties: int) -> int:
    """Return the largest difference, in units of the result, between :func:`truncate` and rounding to nearest.

    Each party rounds its share toward zero. Two shares of a small value have opposite signs, so their errors lie in
    (-1, 1) together; more shares may all err in one direction.
    """
    return 1 if parties == 2 else parties


def wrap_probability(code_bound: int) -> float:
    """Return the chance that CrypTen's truncation of an element of magnitude ``code_bound`` wraps: |x| / 2**64.

    The fast engine has no such case; the stock protocols do, and declare it here.
    """
    return code_bound / 2.0**64


def less_than_zero(value: Shared, parties: int) -> Shared:
    """Return the bit [value < 0] as an additively shared 0 or 1, exact. 8 rounds for 2 parties, 15 for 3.

    CrypTen's way: share each party's share bitwise, add them with carry trees, keep the sign bit, convert it back.
    Written out because CrypTen's own wrapper falls back to another protocol on any RuntimeError, and parties that
    do so alone lose each other.
    """
    crypten = _context()
    words = [crypten.BinarySharedTensor(value.share, src=party) for party in range(parties)]
    total = crypten.BinarySharedTensor.stack(words).sum(dim=0)
    return Shared(crypten.beaver.B2A_single_bit((total >> 63) & 1))


def less_than_zero_correlations(shape: Shape, parties: int) -> list[Correlation]:
    """Return what :func:`less_than_zero` consumes: per carry-tree addition one AND and six of doubled size, then one
    bit.
    """
    consumed: list[Correlation] = []
    operands = parties
    while operands > 1:
        pairs = operands // 2
        consumed.append(AndTriple((pairs, *shape)))
        consumed += [AndTriple((2, pairs, *shape))] * _ADDER_LEVELS
        operands -= pairs
    return [*consumed, BitPair(shape)]


def stack(values: Sequence[Shared]) -> Shared:
    """Return ``values`` along a new first axis. Local."""
    return shared(torch.stack([value.share for value in values]))


def _context() -> ModuleType:
    """Return CrypTen itself. Plans and prices need this module where crypten is not installed."""
    from mpcvit.engines.crypten import context

    return context
