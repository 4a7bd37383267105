"""Shift-uniform-log2 quantization of attention weights (I&S-ViT, 2023, section 3.2)."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.quantize.quantizers.power_of_two import LOGARITHM
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.ranges.sample import Sample

#: The shifts that are tried, the source's.
SHIFTS = (0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.5, 1.0)
_SAMPLE = 2**14


class ShiftUniformLog2(Quantizer):
    """2^u - shift, where u is log2(x + shift) on a uniform grid and then rounded to a whole exponent; x from 0 on.

    A logarithm of x alone spends most codes on values near 0; the shift takes that away, and what codes stand for are
    still powers of two, but for one constant that a product with V takes out again. Several codes may share an
    exponent, and there are exactly 2^bits codes: the source's code clamps to one more.

    The range of u is that of the calibration data; the shift is that of least squared error.

    Attributes:
        shift: what is added before the logarithm.
        lowest: the u of code 0.
        step: from one code to the next, before the exponent is rounded.
    """

    kind: ClassVar[str] = "sulq"
    secure: ClassVar[str | None] = LOGARITHM

    shift: torch.Tensor
    lowest: torch.Tensor
    step: torch.Tensor

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        for name in ("shift", "lowest", "step"):
            self.register_buffer(name, torch.tensor(torch.nan))

    def fit(self, x: torch.Tensor) -> None:
        low, high = x.clamp(min=0).aminmax()
        sample = Sample.of(x.reshape(1, -1), _SAMPLE)
        candidates = [self._covering(low, high, shift) for shift in SHIFTS]
        errors = []
        for candidate in candidates:
            self.shift, self.lowest, self.step = candidate
            errors.append(float(sample.error(self(sample.values))))
        self.shift, self.lowest, self.step = candidates[errors.index(min(errors))]

    def _covering(
        self, low: torch.Tensor, high: torch.Tensor, shift: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        lowest, highest = torch.log2(low + shift), torch.log2(high + shift)
        step = (highest - lowest) / (2**self.bits - 1)
        return torch.full_like(low, shift), lowest, torch.where(step > 0, step, torch.ones_like(step))

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        exponents = torch.log2(x.clamp(min=0) + self.shift)
        return torch.round((exponents - self.lowest) / self.step).clamp(0, 2**self.bits - 1)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        return torch.exp2(torch.round(self.lowest + codes * self.step)) - self.shift
