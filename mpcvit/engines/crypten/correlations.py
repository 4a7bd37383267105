"""The correlated randomness of CrypTen's protocols: what each kind is, what it costs, how it is dealt.

CrypTen communicates only where it consumes correlated randomness, one opening each, so this list is also the exact
online cost of the stock executor. Formulas: Beaver 1991 (products), the comments in CrypTen 0.4.1
``mpc/primitives/beaver.py`` (wraps, single-bit B2A).

A correlation has *free* tensors, which every party expands from its own seed, and one *dependent* tensor, which is a
function of the free ones. All parties but the last expand their share of the dependent tensor from their seed as well;
the last party's share of it is the *correction*, the only thing the dealer has to send: 8 bytes per element.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import xor

import torch

from mpcvit.ops.types import Shape
from mpcvit.ring.prg import Stream

ELEMENT_BYTES = 8


class Product(StrEnum):
    """The bilinear maps that a triple can be for."""

    MUL = "mul"
    MATMUL = "matmul"

    def __call__(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return torch.mul(left, right) if self is Product.MUL else torch.matmul(left, right)

    def shape(self, left: Shape, right: Shape) -> Shape:
        """Return the shape of the product; numpy broadcasting rules."""
        if self is Product.MUL:
            return tuple(torch.broadcast_shapes(left, right))
        return (*torch.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])


def _ring(stream: Stream, shape: Shape) -> torch.Tensor:
    return torch.from_numpy(stream.ring(shape))


def _sum(shares: Sequence[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.add, shares)


class Correlation(ABC):
    """One use of correlated randomness; ``n`` is the number of parties throughout."""

    @property
    @abstractmethod
    def opened(self) -> int:
        """Elements that each party masks with this and opens."""

    @property
    @abstractmethod
    def dependent_shape(self) -> Shape:
        """Shape of the dependent tensor, and of the correction."""

    @abstractmethod
    def free(self, stream: Stream) -> tuple[torch.Tensor, ...]:
        """Return one party's shares of the free tensors: the next bytes of its stream."""

    @abstractmethod
    def dependent(self, free: Sequence[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        """Return the dependent tensor in clear, from all parties' free shares. Dealer only."""

    def remove(self, total: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Return ``total`` less one party's share, in the dependent tensor's sharing (additive unless overridden)."""
        return total - share

    def bytes_sent(self, parties: int) -> tuple[int, ...]:
        """Return the online payload bytes that each party sends."""
        return (ELEMENT_BYTES * self.opened * (parties - 1),) * parties

    def material_bytes(self, parties: int) -> tuple[int, ...]:
        """Return the bytes of correction that the dealer sends to each party; session seeds are counted apart."""
        return (0,) * (parties - 1) + (ELEMENT_BYTES * math.prod(self.dependent_shape),)

    def deal(self, streams: Sequence[Stream]) -> torch.Tensor:
        """Return the last party's share of the dependent tensor, from all parties' streams in party order."""
        correction = self.dependent([self.free(stream) for stream in streams])
        for stream in streams[:-1]:
            correction = self.remove(correction, _ring(stream, self.dependent_shape))
        return correction

    def take(self, stream: Stream, correction: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Return one party's shares, dependent tensor last; ``correction`` is None for all parties but the last."""
        free = self.free(stream)
        return (*free, _ring(stream, self.dependent_shape) if correction is None else correction)


@dataclass(frozen=True)
class ProductTriple(Correlation):
    """[a], [b], [a.b] for a secret-secret product. Opens x - a and y - b."""

    product: Product
    left: Shape
    right: Shape

    @property
    def opened(self) -> int:
        return math.prod(self.left) + math.prod(self.right)

    @property
    def dependent_shape(self) -> Shape:
        return self.product.shape(self.left, self.right)

    def free(self, stream: Stream) -> tuple[torch.Tensor, ...]:
        return _ring(stream, self.left), _ring(stream, self.right)

    def dependent(self, free: Sequence[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        return self.product(_sum([a for a, _ in free]), _sum([b for _, b in free]))


@dataclass(frozen=True)
class SquarePair(Correlation):
    """[r], [r^2]. Opens x - r."""

    shape: Shape

    @property
    def opened(self) -> int:
        return math.prod(self.shape)

    @property
    def dependent_shape(self) -> Shape:
        return self.shape

    def free(self, stream: Stream) -> tuple[torch.Tensor, ...]:
        return (_ring(stream, self.shape),)

    def dependent(self, free: Sequence[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        return _sum([r for (r,) in free]).square()


@dataclass(frozen=True)
class AndTriple(Correlation):
    """XOR-shared words a, b, a & b of equal shape. Opens x ^ a and y ^ b."""

    shape: Shape

    @property
    def opened(self) -> int:
        return 2 * math.prod(self.shape)

    @property
    def dependent_shape(self) -> Shape:
        return self.shape

    def free(self, stream: Stream) -> tuple[torch.Tensor, ...]:
        return _ring(stream, self.shape), _ring(stream, self.shape)

    def dependent(self, free: Sequence[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        a: torch.Tensor = reduce(xor, [a for a, _ in free])
        b: torch.Tensor = reduce(xor, [b for _, b in free])
        return a & b

    def remove(self, total: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        return total ^ share


@dataclass(frozen=True)
class BitPair(Correlation):
    """One bit r, XOR-shared and additively shared, for single-bit B2A. Opens x ^ r, a whole word per bit."""

    shape: Shape

    @property
    def opened(self) -> int:
        return math.prod(self.shape)

    @property
    def dependent_shape(self) -> Shape:
        return self.shape

    def free(self, stream: Stream) -> tuple[torch.Tensor, ...]:
        return (torch.from_numpy(stream.bits(self.shape)),)

    def dependent(self, free: Sequence[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        return reduce(xor, [bits for (bits,) in free])


@dataclass(frozen=True)
class WrapPair(Correlation):
    """[r] and the number of times its shares wrap, for truncation by 3 or more parties. Party 0 gathers x + r."""

    shape: Shape

    @property
    def opened(self) -> int:
        return math.prod(self.shape)

    @property
    def dependent_shape(self) -> Shape:
        return self.shape

    def free(self, stream: Stream) -> tuple[torch.Tensor, ...]:
        return (_ring(stream, self.shape),)

    def dependent(self, free: Sequence[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        total, wraps = free[0][0], torch.zeros(self.shape, dtype=torch.int64)
        for (share,) in free[1:]:
            following = total + share
            wraps += ((total > 0) & (share > 0) & (following < 0)).long()
            wraps -= ((total < 0) & (share < 0) & (following >= 0)).long()
            total = following
        return wraps

    def bytes_sent(self, parties: int) -> tuple[int, ...]:
        return (0,) + (ELEMENT_BYTES * self.opened,) * (parties - 1)
