"""2Quad heads: one square per score, one reciprocal per row, no comparison.

The scale a is folded into Q but for a power of two, so that queries keep their precision; the shift c is a secret
parameter, added for nothing. The sum of weights is divided by 2^e <= M, which costs nothing and keeps the reciprocal's
range small: above the mean's epsilon on any input, because squares are not negative.
"""

from __future__ import annotations

import math
from typing import cast

import torch

from mpcvit.export.attention.heads import AttentionLowering, Heads, denominator, scores_product
from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import normalise_rows
from mpcvit.models.attention import AttentionKernel
from mpcvit.models.attention.quad2 import EPSILON, Quad2
from mpcvit.models.kinds import AttentionKind


def quad2_query_gain(kernel: AttentionKernel, tokens: int) -> torch.Tensor:
    """Return a 2^k per head, the largest between 1/2 and 1."""
    return cast(Quad2, kernel).scale.detach() * 2.0 ** _shrinking(kernel)


def lower_quad2(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of 2Quad heads, normalised after the product with V."""
    exponent, shrinking = heads.exponent, _shrinking(heads.kernel)
    line = b.scale(f"{name}.line", scores_product(b, name, heads), 2.0**-shrinking, max(shrinking, 0))
    constant = cast(Quad2, heads.kernel).shift.detach()[:, None, None]
    shifted = b.add(f"{name}.shifted", line, b.parameter(f"{name}.shift", constant, line.type.frac))
    roots = b.rescale(f"{name}.scores", shifted)
    weights = b.rescale(f"{name}.weights", b.square(f"{name}.squares", roots))
    weights = b.scale(f"{name}.mean_weights", weights, 2.0**-exponent, exponent)
    total = b.rescale(f"{name}.total", b.sum(f"{name}.sum", weights, axis=-1))
    total = denominator(b, name, total, EPSILON * heads.count / 2**exponent)
    return normalise_rows(b, name, weights, total, heads.v, negative=0.0)


def _shrinking(kernel: AttentionKernel) -> int:
    """Return k: by how many bits a is smaller than a number between 1/2 and 1."""
    largest = float(cast(Quad2, kernel).scale.detach().abs().max())
    return -math.ceil(math.log2(largest)) if largest > 0 else 0


LOWERING = AttentionLowering(AttentionKind.QUAD2, lower_quad2, quad2_query_gain)
