"""Affine maps in float64, and how they absorb what surrounds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mpcvit.models.norm import TokenNorm


@dataclass(frozen=True)
class Affine:
    """x @ weight + bias, float64; weight [in, out], bias [out] (or [tokens, out] for the embedding, whose
    class token, if any, is a bias behind a row of zeros)."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(cls, layer: nn.Linear) -> Affine:
        """What ``layer`` computes."""
        return cls(layer.weight.detach().double().T, layer.bias.detach().double())

    def centred(self) -> Affine:
        """This without the mean of what it writes."""
        return Affine(self.weight - self.weight.mean(-1, keepdim=True), self.bias - self.bias.mean(-1, keepdim=True))

    def after(self, norm: TokenNorm) -> Affine:
        """This with the norm's gain and bias before it."""
        gain, bias = norm.gain_and_bias()
        return Affine(gain[:, None] * self.weight, self.bias + bias @ self.weight)

    def then(self, following: Affine) -> Affine:
        """This and ``following`` behind it as one."""
        return Affine(self.weight @ following.weight, self.bias @ following.weight + following.bias)
