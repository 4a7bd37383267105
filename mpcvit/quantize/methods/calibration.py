"""What all calibration methods have in common.

Axes: B pictures, R rows (tokens of all pictures), C channels, H heads, N queries, M keys, D head dim.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.models.norm import TokenNorm
from mpcvit.models.vit import Attention
from mpcvit.quantize.config import Bits
from mpcvit.quantize.quantized import QuantLinear
from mpcvit.quantize.quantizer import Quantizer
from mpcvit.quantize.range import RangeRule
from mpcvit.quantize.uniform import Uniform


@dataclass(frozen=True)
class LinearSite:
    """A layer that is to be quantized.

    Attributes:
        layer: without quantizers yet, but for that of a weight that it shares with a layer that has been quantized.
        x: [R, C], what it reads on the calibration pictures.
        norm: whose output that is, if nothing else reads it and both may be rewritten; None if there is no such norm.
    """

    layer: QuantLinear
    x: torch.Tensor
    norm: TokenNorm | None
    bits: Bits


@dataclass(frozen=True)
class ProductSite:
    """An attention whose products' operands are to be quantized.

    Attributes:
        q, k, v: the operands on the calibration pictures, [B, H, N, D].
        weights: the attention weights [B, heads of the kind, N, M] of the kinds that have any, by kind.
        bits: width of codes.
    """

    attention: Attention
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    weights: dict[str, torch.Tensor]
    bits: int


class Calibration(ABC):
    """One method.

    Attributes:
        sequential: whether a block is calibrated on what the quantized blocks before it give, not on what those of the
            model in real arithmetic give.
    """

    sequential: ClassVar[bool] = False

    @abstractmethod
    def linear(self, site: LinearSite) -> None:
        """Put quantizers into a layer; may rewrite it and its norm so that without quantizers nothing changes."""

    @abstractmethod
    def products(self, site: ProductSite) -> None:
        """Put quantizers into an attention."""


class PlaceByPlace(Calibration):
    """Methods that fit every quantizer to its own values: uniform ones, unless a method says something else.

    Weights have a scale and a zero point per output channel, activations per tensor.

    Attributes:
        rule: how ranges are chosen.
    """

    rule: ClassVar[RangeRule]

    def linear(self, site: LinearSite) -> None:
        bits = site.bits.activation
        site.layer.quantize_input = self.activation(site.x, bits) if site.norm is None else self.behind_norm(site)
        if not isinstance(site.layer.quantize_weight, Quantizer):
            site.layer.quantize_weight = self.weight(site.layer.weight.detach(), site.bits.weight)

    def products(self, site: ProductSite) -> None:
        attention, bits = site.attention, site.bits
        attention.quantize_q = self.activation(site.q, bits)
        attention.quantize_k = self.activation(site.k, bits)
        attention.quantize_v = self.activation(site.v, bits)
        for kind, weights in site.weights.items():
            kernel = attention.kernels[kind]
            kernel.quantize_weights = self.attention_weights(weights, bits)

    def weight(self, weight: torch.Tensor, bits: int) -> Quantizer:
        """The quantizer of a layer's weight [out, in]."""
        return fitted(Uniform(bits, axis=0, rule=self.rule), weight)

    def activation(self, x: torch.Tensor, bits: int) -> Quantizer:
        """The quantizer of what a layer or a product reads."""
        return fitted(Uniform(bits, rule=self.rule), x)

    def behind_norm(self, site: LinearSite) -> Quantizer:
        """The quantizer of what the site's norm, which there is, writes; the norm and the layer may be rewritten."""
        return self.activation(site.x, site.bits.activation)

    def attention_weights(self, weights: torch.Tensor, bits: int) -> Quantizer:
        """The quantizer of attention weights."""
        return self.activation(weights, bits)


def fitted(quantizer: Quantizer, x: torch.Tensor) -> Quantizer:
    """``quantizer`` after ``fit`` on ``x``."""
    quantizer.fit(x)
    return quantizer
