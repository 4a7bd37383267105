"""THE-X heads: one comparison and a cube per score, no reciprocal.

T is one linear layer, T(r)_j = r w_j + c_j, so that the output is r (S (w * V)) + S (c * V): neither T nor the weights
are ever computed per score. ReLU(x^3) = ReLU(x)^3, and 2 (s / 2 + 1) = s + 2.
"""

from __future__ import annotations

from typing import cast

import torch

from mpcvit.export.attention.heads import AttentionLowering, Heads, scores_product
from mpcvit.export.builder import Builder, Value
from mpcvit.models.attention.thex import TheX
from mpcvit.models.kinds import AttentionKind

#: Extra fractional bits of a product that a row factor still scales.
_EXTRA_FRAC = 2
#: The cube of s + 2 is 2^3 times that of s / 2 + 1.
_CUBED = 3


def lower_thex(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of THE-X heads."""
    scores = b.rescale(f"{name}.scores", scores_product(b, name, heads))
    row = _row(b, name, scores, heads)
    slope, intercept = (part.detach() for part in cast(TheX, heads.kernel).slope_and_intercept())
    both = [
        _weighted(b, f"{name}.slope", heads, slope * (2.0**heads.exponent / heads.count)),
        _weighted(b, f"{name}.intercept", heads, intercept),
    ]
    product = b.matmul(f"{name}.mixed_product", scores, b.concat(f"{name}.weighted", both, axis=-1))
    mixed = b.rescale(f"{name}.mixed", product, b.precision.frac + _EXTRA_FRAC)
    width = heads.v.type.shape[-1]
    scaled = b.multiply(f"{name}.scaled", b.slice(f"{name}.mixed_slope", mixed, -1, 0, width), row)
    constant = b.slice(f"{name}.mixed_intercept", mixed, -1, width, 2 * width)
    constant = b.scale(f"{name}.constant", constant, 1.0, row.type.frac)
    return b.rescale(f"{name}.output", b.add(f"{name}.both", scaled, constant))


def _row(b: Builder, name: str, scores: Value, heads: Heads) -> Value:
    """Return sum_j ReLU(s_j / 2 + 1)^3 / 2^e [H, N, 1]: the mean but for a factor that w takes up."""
    double = b.relu(f"{name}.double", b.offset(f"{name}.from_zero", scores, 2.0))
    square = b.rescale(f"{name}.square", b.square(f"{name}.squares", double))
    total = b.sum(f"{name}.sum", b.multiply(f"{name}.cubes", square, double), axis=-1)
    exponent = heads.exponent + _CUBED
    return b.rescale(f"{name}.row", b.scale(f"{name}.row_scaled", total, 2.0**-exponent, exponent))


def _weighted(b: Builder, name: str, heads: Heads, factors: torch.Tensor) -> Value:
    """Return v with each of its rows times a secret factor; e more fractional bits, as factors are about 1 / M."""
    product = b.multiply(f"{name}.product", heads.v, b.parameter(f"{name}.factors", factors[:, None]))
    return b.rescale(name, product, b.precision.frac + heads.exponent)


LOWERING = AttentionLowering(AttentionKind.THEX, lower_thex)
