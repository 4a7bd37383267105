"""Layer norm on codes: I-LayerNorm, then gain and bias in one change of scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.ivit.dyadic import INT32, Dyadic, dyadic, saturate
from mpcvit.ivit.i_layernorm import NORM_STEPS, i_layernorm, square_shift
from mpcvit.ivit.scales import OPERAND_BITS, ScaledEdge, symmetric_scale
from mpcvit.models.norm import LayerNorm


@dataclass(frozen=True, eq=False)
class IntegerNorm:
    """Codes of the stream [.., D] to codes that products read.

    Attributes:
        epsilon: what is added to the sum of squares.
        rescale: per channel, with the gain in the multiplier and the bias as offset.
    """

    epsilon: int
    rescale: Dyadic

    def __call__(self, codes_ND: torch.Tensor) -> torch.Tensor:
        """Return normalised tokens."""
        return saturate(self.rescale(i_layernorm(codes_ND, self.epsilon)), OPERAND_BITS)


def integer_norm(norm: LayerNorm, x: ScaledEdge) -> tuple[IntegerNorm, ScaledEdge]:
    """Return ``norm`` (in float64) on codes, and what it writes."""
    width = x.real.shape[-1]
    gain, bias = norm.gain_and_bias()
    normal = norm(x.real)
    scale = symmetric_scale(normal, OPERAND_BITS)
    epsilon = round(width * norm.eps / x.scale**2 / 4 ** square_shift(width))
    rescale = dyadic(gain * width**0.5 / (NORM_STEPS * scale), bias / scale)
    return IntegerNorm(min(epsilon, INT32 // 2), rescale), ScaledEdge(normal, scale)
