"""Powers of the square root of two, for attention weights (RepQ-ViT, ICCV 2023, section 3.3)."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.quantize.quantizers.power_of_two import LOGARITHM
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.ranges.percentile import quantile
from mpcvit.quantize.ranges.sample import Sample

#: The value of code 0 is one of these quantiles of the calibration data, whichever gives the least squared error.
_SHARES = (0.999, 0.9999, 0.99999, 1.0)
_SAMPLE = 2**14


class LogSqrt2(Quantizer):
    """scale * sqrt(2)^-code for values from 0 on; the last code means 0.

    Values are made by shifts: scale * 2^-ceil(code / 2), times sqrt(2) where the code is odd. The source's code clamps
    all smaller values to 0 beside 2^bits powers, which is one value more than codes of this width have.

    Attributes:
        scale: the value of code 0, the largest there is.
    """

    kind: ClassVar[str] = "log_sqrt2"
    secure: ClassVar[str | None] = LOGARITHM

    scale: torch.Tensor

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        self.register_buffer("scale", torch.tensor(torch.nan))

    def fit(self, x: torch.Tensor) -> None:
        sample = Sample.of(x.reshape(1, -1), _SAMPLE)
        ordered = x.reshape(1, -1).sort(dim=1).values
        best, least = torch.ones_like(ordered[0, 0]), torch.inf
        for share in _SHARES:
            scale = quantile(ordered, share)[0, 0]
            if scale <= 0:
                continue
            self.scale = scale
            error = float(sample.error(self(sample.values)))
            if error < least:
                best, least = scale, error
        self.scale = best.clone()

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(-2 * torch.log2((x / self.scale).clamp(min=0))).clamp(0, 2**self.bits - 1)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        shifted = torch.exp2(-torch.ceil(codes / 2))
        odd = codes % 2
        powers = self.scale * shifted * (1 + (2**0.5 - 1) * odd)
        return torch.where(codes == 2**self.bits - 1, torch.zeros_like(powers), powers)
