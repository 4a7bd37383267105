"""Two uniform ranges whose steps differ by a power of two (PTQ4ViT, ECCV 2022; OPT-m of MPTQ-ViT, 2024)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

import torch

from mpcvit.quantize.quantizers.power_of_two import CHOICE
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.ranges.sample import Sample

_SAMPLE = 2**13
#: Parts of the largest value that the coarse range reaches to that ``fit`` tries; the exponents m are below.
_SHARES = tuple(step / 20 for step in range(20, 5, -1))


class Split(StrEnum):
    """Which values the fine range is for."""

    SIGN = "sign"
    SIZE = "size"


_EXPONENTS = {Split.SIGN: range(-4, 11), Split.SIZE: range(13)}


class TwinUniform(Quantizer):
    """Half of the codes for a fine range of step ``step``, half for a coarse one of step ``step`` * 2^m.

    Split by sign, for GELU: the fine range holds the negative values. Split by size, for attention weights and other
    values from 0 on: the fine range holds the values that it reaches. In both, a code's high bit names the range, and
    hardware adds up both ranges' products with a shift by m. ``fit`` is MPTQ-ViT's OPT-m: m and the coarse range are
    those of least squared error among all integers and shares tried.

    Attributes:
        step: of the fine range.
        m: whole.
    """

    kind: ClassVar[str] = "twin"
    secure: ClassVar[str | None] = CHOICE

    step: torch.Tensor
    m: torch.Tensor

    def __init__(self, bits: int, *, split: Split | str = Split.SIZE) -> None:
        super().__init__(bits)
        self.split = Split(split)
        self.codes_each = 2 ** (bits - 1)
        self.register_buffer("step", torch.tensor(torch.nan))
        self.register_buffer("m", torch.tensor(torch.nan))

    def settings(self) -> dict[str, Any]:
        return {"split": self.split.value}

    def fit(self, x: torch.Tensor) -> None:
        sample = Sample.of(x.reshape(1, -1), _SAMPLE)
        largest = x.max().clamp(min=torch.finfo(x.dtype).tiny)
        exponents = torch.tensor(_EXPONENTS[self.split]).to(x)[:, None, None]
        best, least = (largest, torch.zeros_like(largest)), torch.inf
        for share in _SHARES:
            coarse = largest * share / (self.codes_each - 1)
            self.step, self.m = coarse * torch.exp2(-exponents), exponents
            errors = sample.error(self(sample.values)).flatten()
            if errors.min() < least:
                choice = errors.argmin()
                best, least = (self.step[choice, 0, 0], self.m[choice, 0, 0]), float(errors[choice])
        self.step, self.m = best

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        last = self.codes_each - 1
        if self.split is Split.SIGN:
            is_fine, fine = x < 0, torch.round(-x / self.step)
        else:
            fine = torch.round(x / self.step)
            is_fine = fine <= last
        coarse = torch.round(x / (self.step * torch.exp2(self.m)))
        return torch.where(is_fine, fine.clamp(0, last), self.codes_each + coarse.clamp(0, last))

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        sign = -1 if self.split is Split.SIGN else 1
        coarse = (codes - self.codes_each) * self.step * torch.exp2(self.m)
        return torch.where(codes < self.codes_each, sign * codes * self.step, coarse)
