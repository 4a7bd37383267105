"""Linear layers on codes: int8 weights per output channel, int32 sums with biases, one change of scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.ivit.accumulate import accumulate
from mpcvit.ivit.dyadic import Dyadic, check_int32, dyadic, saturate
from mpcvit.ivit.scales import OPERAND_BITS

_LARGEST_WEIGHT = (1 << (OPERAND_BITS - 1)) - 1
#: Biases stay within this many steps, so that they and a sum of products fit 32 bits.
_LARGEST_BIAS = 1 << 30


@dataclass(frozen=True, eq=False)
class IntegerLinear:
    """Codes [.., inputs] to codes [.., outputs].

    Attributes:
        weight: int64 [inputs, outputs], -127 to 127.
        bias: int64, broadcasts to [.., outputs], at the scale of a product.
        rescale: per output channel, to the scale of the results.
        bits: width of the results.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    rescale: Dyadic
    bits: int

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """Return results for ``codes``."""
        return saturate(self.rescale(check_int32(accumulate(codes, self.weight) + self.bias)), self.bits)


def integer_linear(
    weight: torch.Tensor, bias: torch.Tensor, reads: float, writes: torch.Tensor | float, bits: int
) -> IntegerLinear:
    """Return the layer x -> weight x + bias between the scales ``reads`` and ``writes``.

    Args:
        weight: real [outputs, inputs].
        bias: real [outputs], or [tokens, outputs] if it depends on the token.
        reads: scale of the codes that come in.
        writes: scale of those that go out; [outputs], or one for all.
        bits: width of those that go out.
    """
    largest_bias = bias.abs().reshape(-1, len(weight)).amax(dim=0).double()
    steps = torch.maximum(
        weight.abs().amax(dim=1).double() / _LARGEST_WEIGHT, largest_bias / (reads * _LARGEST_BIAS)
    ).clamp(min=torch.finfo(torch.float32).tiny)
    return IntegerLinear(
        weight=(weight.double() / steps[:, None]).round().long().T.contiguous(),
        bias=(bias.double() / (reads * steps)).round().long(),
        rescale=dyadic(reads * steps / writes),
        bits=bits,
    )
