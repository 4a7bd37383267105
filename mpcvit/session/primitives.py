"""CrypTen's protocols on ring codes, each beside the list of correlations that it consumes.

Values are ``ArithmeticSharedTensor`` with precision 0, that is plain int64 codes: the Program, not CrypTen, knows
the fixed point. Products are exact mod 2**64; only :func:`truncate` rounds. ``n`` is the number of parties.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mpcvit.session.correlations import (
    AndTriple,
    BitPair,
    Correlation,
    Product,
    ProductTriple,
    Shape,
    SquarePair,
    WrapPair,
)
from mpcvit.session.crypten_context import ArithmeticSharedTensor, BinarySharedTensor, beaver

#: Levels of CrypTen's carry tree over 64-bit words.
_ADDER_LEVELS = 6


def shared(share: torch.Tensor) -> ArithmeticSharedTensor:
    """This party's int64 ``share`` as CrypTen's live type."""
    return ArithmeticSharedTensor.from_shares(share, precision=0)


def multiply(left: ArithmeticSharedTensor, right: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
    """Elementwise product with broadcasting, exact. 1 round."""
    return beaver.mul(left, right)


def multiply_correlations(left: Shape, right: Shape) -> list[Correlation]:
    """What :func:`multiply` consumes for operands of these shapes."""
    return [ProductTriple(Product.MUL, left, right)]


def matmul(left: ArithmeticSharedTensor, right: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
    """Matrix product over the last two axes, batched over the others, exact. 1 round."""
    return beaver.matmul(left, right)


def matmul_correlations(left: Shape, right: Shape) -> list[Correlation]:
    """What :func:`matmul` consumes for operands of these shapes."""
    return [ProductTriple(Product.MATMUL, left, right)]


def square(value: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
    """Elementwise square, exact. 1 round."""
    return beaver.square(value)


def square_correlations(shape: Shape) -> list[Correlation]:
    """What :func:`square` consumes for this shape."""
    return [SquarePair(shape)]


def truncate(value: ArithmeticSharedTensor, bits: int) -> ArithmeticSharedTensor:
    """round(value / 2**bits), off by at most :func:`truncation_error`.

    Wrong by 2**(64 - bits) with :func:`wrap_probability`, silently.

    0 rounds for 2 parties (each truncates its share), 1 round for more (CrypTen's wrap count).
    """
    return (value + (1 << (bits - 1))).div_(1 << bits)


def truncate_correlations(shape: Shape, parties: int) -> list[Correlation]:
    """What :func:`truncate` consumes for this shape."""
    return [] if parties == 2 else [WrapPair(shape)]


def truncation_error(parties: int) -> int:
    """Largest difference, in units of the result, between :func:`truncate` and rounding to nearest.

    Each party rounds its share toward zero. Two shares of a small value have opposite signs, so their errors lie in
    (-1, 1) together; more shares may all err in one direction.
    """
    return 1 if parties == 2 else parties


def wrap_probability(code_bound: int) -> float:
    """Chance that CrypTen's truncation of one element of magnitude ``code_bound`` wraps silently: |x| / 2**64.

    The engine of DESIGN 4.2 has no such case; the stock protocols do, and say so here.
    """
    return code_bound / 2.0**64


def less_than_zero(value: ArithmeticSharedTensor, parties: int) -> ArithmeticSharedTensor:
    """The bit [value < 0] as an additively shared 0 or 1, exact. 8 rounds for 2 parties, 15 for 3.

    CrypTen's way: share each party's share bitwise, add them with carry trees, keep the sign bit, convert it back.
    Written out because CrypTen's own wrapper falls back to another protocol on any RuntimeError, and parties that
    do so alone lose each other.
    """
    words = [BinarySharedTensor(value.share, src=party) for party in range(parties)]
    total = BinarySharedTensor.stack(words).sum(dim=0)
    return beaver.B2A_single_bit((total >> 63) & 1)


def less_than_zero_correlations(shape: Shape, parties: int) -> list[Correlation]:
    """What :func:`less_than_zero` consumes: per carry-tree addition one AND and six of doubled size, then one bit."""
    consumed: list[Correlation] = []
    operands = parties
    while operands > 1:
        pairs = operands // 2
        consumed.append(AndTriple((pairs, *shape)))
        consumed += [AndTriple((2, pairs, *shape))] * _ADDER_LEVELS
        operands -= pairs
    return [*consumed, BitPair(shape)]


def stack(values: Sequence[ArithmeticSharedTensor]) -> ArithmeticSharedTensor:
    """``values`` along a new first axis. Local."""
    return shared(torch.stack([value.share for value in values]))
