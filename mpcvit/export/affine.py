"""Affine maps in float64, and how they absorb what surrounds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mpcvit.models.norm import TokenNorm


@dataclass(frozen=True)
class Affine:
    """x @ weight + bias, or x @ first @ weight + bias; float64.

    Attributes:
        weight: [in, out], or [rank, out] behind a factor.
        bias: [out] (or [tokens, out] for the embedding, whose class token, if any, is a bias behind a row of zeros).
        first: [in, rank], or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    first: torch.Tensor | None = None

    @classmethod
    def of(cls, layer: nn.Linear) -> Affine:
        """Return what ``layer`` computes."""
        return cls(layer.weight.detach().double().T, layer.bias.detach().double())

    def centred(self) -> Affine:
        """Return this without the mean of what it writes."""
        bias = self.bias - self.bias.mean(-1, keepdim=True)
        return Affine(self.weight - self.weight.mean(-1, keepdim=True), bias, self.first)

    def after(self, norm: TokenNorm) -> Affine:
        """Return this with the norm's gain and bias before it.

        What a norm reads has no mean, so the mean over inputs of every column does nothing. Without it columns are
        shorter, and with them the bounds on their products.
        """
        gain, bias = norm.gain_and_bias()
        if self.first is None:
            weight = gain[:, None] * self.weight
            return Affine(weight - weight.mean(0), self.bias + bias @ self.weight)
        first = gain[:, None] * self.first
        return Affine(self.weight, self.bias + bias @ self.first @ self.weight, first - first.mean(0))

    def merged(self) -> Affine:
        """Return this as one matrix."""
        return self if self.first is None else Affine(self.first @ self.weight, self.bias)

    def then(self, following: Affine) -> Affine:
        """Return this and ``following`` behind it as one matrix."""
        mine, theirs = self.merged(), following.merged()
        return Affine(mine.weight @ theirs.weight, mine.bias @ theirs.weight + theirs.bias)

    def outputs(self, columns: torch.Tensor) -> Affine:
        """Return only these outputs, in this order; a mask or numbers."""
        return Affine(self.weight[:, columns], self.bias[columns], self.first)

    def inputs(self, rows: torch.Tensor) -> Affine:
        """Return this for some of the inputs, in this order; a mask or numbers."""
        if self.first is None:
            return Affine(self.weight[rows], self.bias)
        return Affine(self.weight, self.bias, self.first[rows])

    def scaled(self, factors: torch.Tensor) -> Affine:
        """Return this with each output times a factor [out]."""
        return Affine(self.weight * factors, self.bias * factors, self.first)
