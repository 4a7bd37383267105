"""The result of a layer norm: rows, a factor for each, and the norm's own gain and bias."""

from __future__ import annotations

from dataclasses import replace

import torch

from mpcvit.export.affine import Affine
from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import Normed, read_affine
from mpcvit.export.traced.rows.pending import Movement, PendingRows
from mpcvit.ops.bounds import Bounds


class NormedRows(PendingRows):
    """x * factor * gain + bias, none of it computed.

    Attributes:
        normed: x, without a mean, and the factor.
        gain, bias: [channels].
    """

    def __init__(self, name: str, normed: Normed, gain: torch.Tensor, bias: torch.Tensor) -> None:
        self.name, self.normed, self.gain, self.bias = name, normed, gain, bias

    @property
    def shape(self) -> tuple[int, ...]:
        return self.normed.x.type.shape

    def moved(self, name: str, move: Movement) -> NormedRows:
        x, factor = self.normed.x, self.normed.factor
        x = replace(move(f"{name}.rows", x), radius=x.radius)
        factor = None if factor is None else move(f"{name}.factors", factor)
        return NormedRows(name, Normed(x, factor, self.normed.gain), self.gain, self.bias)

    def through(self, b: Builder, name: str, weight: torch.Tensor, bias: torch.Tensor) -> Value:
        """Return what a linear layer reads of this, not rescaled: the norm's gain and bias are in the layer.

        Rows have no mean, so that the mean of every column of the weights does nothing, and is left out.

        Args:
            weight: [channels, out].
            bias: [out].
        """
        folded = self.gain[:, None] * weight
        if self.normed.factor is not None:
            folded = folded - folded.mean(0)
        return read_affine(b, name, self.normed, Affine(folded, bias + self.bias @ weight))

    def computed(self, b: Builder) -> Value:
        x, factor, gain = self.normed.x, self.normed.factor, self.normed.gain
        if factor is not None:
            known = None if gain is None else Bounds.up_to(torch.full(x.type.shape, gain, dtype=torch.float64))
            x = b.rescale(f"{self.name}.normed", b.multiply(f"{self.name}.scaled", x, factor, known))
        product = b.multiply(f"{self.name}.gained", x, b.parameter(f"{self.name}.gain", self.gain))
        bias = b.parameter(f"{self.name}.bias", self.bias, product.type.frac)
        return b.rescale(self.name, b.add(f"{self.name}.sum", product, bias))
