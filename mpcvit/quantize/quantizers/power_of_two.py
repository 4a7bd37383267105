"""Rounding to a power of two: what fixed point on secret shares does with an activation of few bits."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from mpcvit.quantize.quantizers.quantizer import Quantizer

#: What the secure path does in place of quantizers that it cannot afford, for people to read.
CLAMP = "power_of_two: a scale that is a power of two is a shift, but each clamp is two comparisons an element"
LOGARITHM = "power_of_two: a logarithm is hundreds of bytes an element, and saves none in the product that follows"
CHOICE = "power_of_two: choosing among ranges is a comparison an element"


class PowerOfTwo(Quantizer):
    """round(x 2^f) / 2^f, codes signed and not clamped.

    Free on shares: the scale is a public shift, and no comparison is needed because nothing is clamped; a value beyond
    what was seen in calibration just has a longer code. There, rounding goes up with a chance equal to the fraction
    instead of to nearest, so that both are within 2^-f of the value.

    Attributes:
        frac: f, whole; the largest number of fraction bits with which the calibration data have codes of the width.
    """

    kind: ClassVar[str] = "power_of_two"

    frac: torch.Tensor

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        self.register_buffer("frac", torch.tensor(torch.nan))

    def fit(self, x: torch.Tensor) -> None:
        largest = float(x.abs().max())
        frac = math.floor(math.log2((2 ** (self.bits - 1) - 1) / largest)) if largest > 0 else self.bits - 1
        self.frac = torch.tensor(float(frac), dtype=x.dtype, device=x.device)

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(x * torch.exp2(self.frac))

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        return codes * torch.exp2(-self.frac)
