"""Tangent quantization of attention weights: a reconstruction of DopQ-ViT's TanQ (2024)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.ranges.sample import Sample

_CANDIDATES = 64
_SAMPLE = 2**14


class ReconstructedTanQ(Quantizer):
    """Values scale * atan(code tan(a) / (2^bits - 1)) / a, for values from 0 on: steps grow finer towards the scale.

    Reconstructed from the abstract, which says that a tangent gives more codes to attention weights near 1. The paper's
    own formula was not available, so results under this name are not the paper's.

    a is searched in (0, pi/2) for the least squared error; near 0 the codes are uniform.

    Attributes:
        scale: the largest value, that of the last code.
        angle: a.
    """

    kind: ClassVar[str] = "tanq_reconstructed"
    secure: ClassVar[str | None] = (
        "power_of_two: a tangent is a lookup an element, and saves none in the product that follows"
    )

    scale: torch.Tensor
    angle: torch.Tensor

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        self.register_buffer("scale", torch.tensor(torch.nan))
        self.register_buffer("angle", torch.tensor(torch.nan))

    def fit(self, x: torch.Tensor) -> None:
        largest = x.max()
        self.scale = torch.where(largest > 0, largest, torch.ones_like(largest))
        sample = Sample.of(x.reshape(1, -1), _SAMPLE)
        angles = [math.pi / 2 * number / _CANDIDATES for number in range(1, _CANDIDATES)]
        errors = []
        for angle in angles:
            self.angle = torch.full_like(self.scale, angle)
            errors.append(float(sample.error(self(sample.values))))
        self.angle = torch.full_like(self.scale, angles[errors.index(min(errors))])

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """Return the nearest code on the tangent's scale, which is not always that of the nearest value."""
        bent = torch.tan(self.angle * (x / self.scale).clamp(0, 1)) / torch.tan(self.angle)
        return torch.round(bent * (2**self.bits - 1))

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.atan(codes / (2**self.bits - 1) * torch.tan(self.angle)) / self.angle
