"""Logarithmic quantization with a base that is fitted (AdaLog, ECCV 2024, sections 3.2 and 3.3)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from mpcvit.quantize.quantizers.power_of_two import LOGARITHM
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.ranges.sample import Sample

#: r: how finely the base 2^(q/r) can be chosen. The source's value, for codes of up to 8 bits.
RESOLUTION = 37
_SOURCE_BITS = 8
#: The least value of GELU.
GELU_MINIMUM = -0.16997124
#: Scales, in parts of the largest value, and bases that ``fit`` tries.
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
_BASES = (*range(1, 10), *range(10, 139, 4))
_SAMPLE = 2**13


class AdaLog(Quantizer):
    """scale * 2^(-code q / r) for values x + shift from 0 on; the last code means 0.

    Values are made with two tables of 2^bits entries: a shift, floor(code q / r), and a mantissa
    2^-(((code q) mod r) / r) on a grid of 1 / (2^(bits+1) - 2). The value 0 takes a code of the width, unlike in the
    source, whose zeros are one value more. Wider codes than any in the source get a finer base, for else they would be
    no more exact than 8 bits.

    Args:
        restore: whether values are those of x; else those of x + shift, and whoever reads them takes the shift back
            (bias reparameterization).

    Attributes:
        scale: the value of code 0. Broadcasts against what is quantized, like ``q``.
        q: whole, at least 1.
        shift: added before the logarithm: minus the least value that the activation can have.
    """

    kind: ClassVar[str] = "adalog"
    secure: ClassVar[str | None] = LOGARITHM

    scale: torch.Tensor
    q: torch.Tensor
    shift: torch.Tensor

    def __init__(self, bits: int, *, restore: bool = True) -> None:
        super().__init__(bits)
        self.restore = restore
        self.resolution = RESOLUTION << max(0, bits - _SOURCE_BITS)
        for name in ("scale", "q", "shift"):
            self.register_buffer(name, torch.tensor(torch.nan))

    def settings(self) -> dict[str, Any]:
        return {"restore": self.restore}

    def fit(self, x: torch.Tensor) -> None:
        sample = Sample.of(x.reshape(1, -1), _SAMPLE)
        shift = least_value(x).neg()
        largest = (x.max() + shift).clamp(min=torch.finfo(x.dtype).tiny)
        best, least = (largest, torch.ones_like(largest)), torch.inf
        for share in _SHARES:
            for q in _BASES:
                self.assign(largest * share, torch.full_like(largest, q), shift)
                error = float(sample.error(self._rounded(sample.values) - shift))
                if error < least:
                    best, least = (self.scale, self.q), error
        self.assign(*best, shift)

    def assign(self, scale: torch.Tensor, q: torch.Tensor, shift: torch.Tensor) -> None:
        """Take these parameters; the first two broadcast against what is quantized."""
        self.scale, self.q, self.shift = (parameter.detach().clone() for parameter in (scale, q, shift))

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        octaves = -torch.log2(((x + self.shift) / self.scale).clamp(min=0))
        return torch.round(octaves * self.resolution / self.q).clamp(0, 2**self.bits - 1)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        powers = self._powers(codes)
        return powers - self.shift if self.restore else powers

    def _rounded(self, x: torch.Tensor) -> torch.Tensor:
        """Return what ``x`` + shift is rounded to."""
        return self._powers(self.codes(x))

    def _powers(self, codes: torch.Tensor) -> torch.Tensor:
        """Return scale * mantissa * 2^-shift of every code, which are what the two tables hold."""
        steps = codes * self.q
        whole = torch.floor(steps / self.resolution)
        fraction = (steps - whole * self.resolution) / self.resolution
        finest = 2 ** (self.bits + 1) - 2
        powers = self.scale * (torch.round(torch.exp2(-fraction) * finest) / finest) * torch.exp2(-whole)
        return torch.where(codes == 2**self.bits - 1, torch.zeros_like(powers), powers)


def least_value(x: torch.Tensor) -> torch.Tensor:
    """Return the least value that an activation with outputs ``x`` can have: GELU's, 0, or the least that was seen."""
    least = x.min()
    return torch.where((least < 0) & (least >= GELU_MINIMUM), torch.full_like(least, GELU_MINIMUM), least.clamp(max=0))
