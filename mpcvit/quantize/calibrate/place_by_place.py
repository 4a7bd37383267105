"""Methods that fit every quantizer to its own values."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.quantize.calibrate.calibration import Calibration, LinearSite, ProductSite
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.uniform import Uniform
from mpcvit.quantize.ranges import RangeRule


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
        """Return the quantizer of a layer's weight [out, in]."""
        return fitted(Uniform(bits, axis=0, rule=self.rule), weight)

    def activation(self, x: torch.Tensor, bits: int) -> Quantizer:
        """Return the quantizer of what a layer or a product reads."""
        return fitted(Uniform(bits, rule=self.rule), x)

    def behind_norm(self, site: LinearSite) -> Quantizer:
        """Return the quantizer of what the site's norm, which there is, writes.

        The norm and the layer may be rewritten.
        """
        return self.activation(site.x, site.bits.activation)

    def attention_weights(self, weights: torch.Tensor, bits: int) -> Quantizer:
        """Return the quantizer of attention weights."""
        return self.activation(weights, bits)


def fitted(quantizer: Quantizer, x: torch.Tensor) -> Quantizer:
    """Return ``quantizer`` after ``fit`` on ``x``."""
    quantizer.fit(x)
    return quantizer
