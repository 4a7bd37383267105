"""Square heads: one square per score. The division by M costs nothing: 2^e of it is public and the rest is in Q."""

from __future__ import annotations

import torch

from mpcvit.export.attention.heads import AttentionLowering, Heads, scores_product
from mpcvit.export.builder import Builder, Value
from mpcvit.models.attention import AttentionKernel
from mpcvit.models.kinds import AttentionKind


def square_query_gain(kernel: AttentionKernel, tokens: int) -> torch.Tensor:
    """Return sqrt(2^e / M), the same for all heads: squared scores are then S^2 2^e / M."""
    return torch.tensor((2.0 ** (tokens.bit_length() - 1) / tokens) ** 0.5, dtype=torch.float64)


def lower_square(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of square heads; weights keep e more fractional bits, because they are that much smaller."""
    frac, exponent = b.precision.frac, heads.exponent
    scores = b.rescale(f"{name}.scores", scores_product(b, name, heads))
    weights = b.rescale(f"{name}.weights", b.square(f"{name}.squares", scores))
    weights = b.scale(f"{name}.mean_weights", weights, 2.0**-exponent, exponent)
    return b.rescale(f"{name}.output", b.matmul(f"{name}.product", weights, heads.v), frac)


LOWERING = AttentionLowering(AttentionKind.SQUARE, lower_square, square_query_gain)
