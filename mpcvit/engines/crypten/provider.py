"""CrypTen's triple provider, fed by the dealer's stream instead of four round trips per triple."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.engines.crypten.correlations import (
    ELEMENT_BYTES,
    AndTriple,
    BitPair,
    Correlation,
    Product,
    ProductTriple,
    SquarePair,
    WrapPair,
)
from mpcvit.engines.crypten.material import MaterialSource
from mpcvit.errors import ProtocolViolation
from mpcvit.ring.prg import Prg, Stream


@dataclass(frozen=True)
class Planned:
    """One correlation that a Program will consume.

    Attributes:
        node: name of the Program node.
        index: counts the correlations of that node from 0.
    """

    node: str
    index: int
    correlation: Correlation

    def stream(self, prg: Prg) -> Stream:
        """Return the random stream that this use owns, in the generator of one party's session."""
        return prg.stream("correlation", self.node, self.index)


class Provider:
    """Hands out shares of correlated randomness in the order of the plan.

    Returns raw int64 shares; :mod:`mpcvit.engines.crypten.context` wraps them for CrypTen. A request that differs from
    the plan means that this party left the Program: :class:`ProtocolViolation`.

    Args:
        plan: the correlations of the whole Program, in order.
        material: this party's seed and corrections.
        last: whether this party is the one that gets corrections.
    """

    def __init__(self, plan: Iterator[Planned], material: MaterialSource, *, last: bool) -> None:
        self._plan = plan
        self._material = material
        self._prg = Prg(material.seed)
        self._last = last

    def product(self, product: Product, left: Sequence[int], right: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return shares of a, b, a.b."""
        return self._next(ProductTriple(product, tuple(left), tuple(right)))

    def square(self, shape: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return shares of r, r^2."""
        return self._next(SquarePair(tuple(shape)))

    def conjunction(self, shape: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return XOR shares of a, b, a & b."""
        return self._next(AndTriple(tuple(shape)))

    def bit(self, shape: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return XOR share and additive share of a random bit."""
        return self._next(BitPair(tuple(shape)))

    def wrap(self, shape: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return a share of r and a share of the wraps of r."""
        return self._next(WrapPair(tuple(shape)))

    def _next(self, wanted: Correlation) -> tuple[torch.Tensor, ...]:
        planned = next(self._plan, None)
        if planned is None or planned.correlation != wanted:
            raise ProtocolViolation(
                f"a request for {wanted}",
                expected=f"{planned.correlation} for {planned.node}" if planned else "no further request",
                remedy="This is a bug in an op's CrypTen kernel; please report it.",
            )
        correction = None
        if self._last:
            shape = wanted.dependent_shape
            raw = self._material.read(ELEMENT_BYTES * math.prod(shape))
            correction = torch.from_numpy(np.frombuffer(raw, dtype="<i8").reshape(shape).copy())
        return wanted.take(planned.stream(self._prg), correction)
