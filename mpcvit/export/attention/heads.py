"""What a lowering is given, and what several lowerings share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.models.attention import AttentionKernel
from mpcvit.models.kinds import AttentionKind
from mpcvit.ops.bounds import Bounds

#: Share of a denominator's epsilon that small negative weights may use up. With at most half of it, the sum of the
#: magnitudes of all weights stays below the denominator, and no output is longer than the longest value.
SHARE = 0.5


@dataclass(frozen=True)
class Heads:
    """One group of heads of a kind, with ordinary precision.

    Attributes:
        q: [H, N, D], scaled by 1/sqrt(D) and by the kind's query gain.
        keys: [H, D, M].
        v: [H, M, D].
        kernel: the model's module for them, float64.
        mask: [H, N, M] that multiplies the scores, float64; None for none.
        scores: [H], bounds on |q . k|, unmasked; None where none is known but that of the elements.
    """

    q: Value
    keys: Value
    v: Value
    kernel: AttentionKernel
    mask: torch.Tensor | None
    scores: torch.Tensor | None = None

    @property
    def count(self) -> int:
        """M, the number of keys."""
        return self.keys.type.shape[-1]

    @property
    def exponent(self) -> int:
        """e with 2**e <= M < 2**(e + 1): division by 2**e is free, and the rest is between 1 and 2."""
        return self.count.bit_length() - 1


@dataclass(frozen=True)
class AttentionLowering:
    """How a kind of heads becomes ops.

    Attributes:
        lower: takes the builder, a name and one group of heads, and gives the output [H, N, D] with ordinary
            precision. Names of what it adds begin with the name it is given.
        query_gain: factors [heads] that it wants folded into the query weights, from the kernel and the number of
            tokens; None for 1.
    """

    kind: AttentionKind
    lower: Callable[[Builder, str, Heads], Value]
    query_gain: Callable[[AttentionKernel, int], torch.Tensor] | None = None


def scores_product(b: Builder, name: str, heads: Heads, factor: float = 1.0) -> Value:
    """Return Q K^T, or mask * Q K^T times a public ``factor`` that the mask takes up; not rescaled."""
    known = None if heads.scores is None else Bounds.up_to(heads.scores[:, None, None])
    product = b.matmul(f"{name}.scores_product", heads.q, heads.keys, known)
    if heads.mask is None:
        return product
    unmasked = b.rescale(f"{name}.unmasked", product)
    return b.multiply(f"{name}.masked", unmasked, b.parameter(f"{name}.mask", heads.mask * factor))


def denominator(b: Builder, name: str, total: Value, epsilon: float) -> Value:
    """Return total + epsilon, with a lower bound that holds on all inputs, not only on calibration data.

    ``total`` is a sum of what is not negative in real numbers, and above -SHARE * epsilon as rounded.
    """
    bounds = ((1 - SHARE) * epsilon, epsilon + total.type.qtype.hi)
    return b.offset(f"{name}.denominator", total, epsilon, bounds)
