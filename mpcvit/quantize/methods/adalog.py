"""AdaLog (ECCV 2024): fitted logarithms for what is one-sided, all parameters found by FPCS on the layers' outputs.

First every quantizer is searched for the least error of its own values, then, in some rounds, weights and activations
in turn for the least error of their product. Norms are rewritten as in RepQ-ViT.

Beyond the source: a one-sided tensor gets a uniform quantizer where that has the lower error (after a ReLU, or with
many bits), and logarithms serve whatever is one-sided, not just GELU's outputs and a softmax's.

Axes: R rows, C channels, B pictures, H heads, N queries, M keys, D head dim.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.quantize.calibrate.calibration import Calibration, LinearSite, ProductSite
from mpcvit.quantize.config import Method
from mpcvit.quantize.methods.repq import to_one_scale
from mpcvit.quantize.places import QuantLinear
from mpcvit.quantize.quantizers.adalog import GELU_MINIMUM, AdaLog, least_value
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.uniform import Uniform
from mpcvit.quantize.ranges.sample import Rows
from mpcvit.quantize.search.families import AdaLogFamily, QuantizerFamily, UniformFamily
from mpcvit.quantize.search.operand import Operand, alternate, product_error

_ROUNDS = 3
#: Rows of what a layer reads, and pictures of attentions' operands, that errors are measured on.
_ROWS, _PICTURES = 512, 16
_HEADS = 1  # the axis


class AdaLogCalibration(Calibration):
    """Weights per output channel, inputs per tensor, operands of attention's products per head."""

    method: ClassVar[Method] = Method.ADALOG

    def linear(self, site: LinearSite) -> None:
        layer, bits, shared = site.layer, site.bits, site.layer.quantize_weight
        start: Uniform | None = None
        if site.norm is not None:
            by_channel = Operand(site.x, UniformFamily(bits.activation, 1)).quantizer
            assert isinstance(by_channel, Uniform)  # noqa: S101 - its family's
            site, start = to_one_scale(site, by_channel)
        rows, least = Rows.of(site.x, _ROWS), torch.inf
        for family in _families(site.x, bits.activation, None):
            inputs = Operand(site.x, family, rows)
            if start is not None and isinstance(family, UniformFamily):
                inputs.quantizer = start
            weights = Operand(layer.weight.detach(), UniformFamily(bits.weight, 0))
            if isinstance(shared, Quantizer):
                weights.quantizer = shared
                inputs.refit(weights)
            else:
                alternate(inputs, weights, _ROUNDS)
            error = product_error(inputs, weights)
            if error < least:
                layer.quantize_input, layer.quantize_weight, least = inputs.quantizer, weights.quantizer, error
        absorb_shift(layer)

    def products(self, site: ProductSite) -> None:
        attention, family = site.attention, UniformFamily(site.bits, _HEADS)
        pictures = Rows.of(site.v, _PICTURES)
        q, k = Operand(site.q, family, pictures), Operand(site.k, family, pictures.unweighted())
        v = Operand(site.v, family)
        alternate(q, k, _ROUNDS)
        scale_H, zero_H = (parameter.clone() for parameter in family.parameters(v.quantizer))
        for kind, weights in site.weights.items():
            members = [head for head, other in enumerate(attention.kinds) if other == kind]
            quantizer, values = self._weights_and_values(weights, site.v[:, members], pictures, site.bits)
            scale_H[members], zero_H[members] = family.parameters(values)
            attention.kernels[kind].quantize_weights = quantizer
        attention.quantize_q, attention.quantize_k = q.quantizer, k.quantizer
        attention.quantize_v = family.make(site.v.ndim, scale_H, zero_H)

    def _weights_and_values(
        self, weights_BHNM: torch.Tensor, v_BHMD: torch.Tensor, pictures: Rows, bits: int
    ) -> tuple[Quantizer, Quantizer]:
        """Return the quantizers of the attention weights of a kind and of the values that they meet."""
        values_family = UniformFamily(bits, _HEADS)
        best: tuple[Quantizer, Quantizer] | None = None
        least = torch.inf
        for family in _families(weights_BHNM, bits, _HEADS):
            weights = Operand(weights_BHNM, family, pictures)
            values = Operand(v_BHMD.mT, values_family, pictures.unweighted())
            # kinds that shorten the keys do so to the values too, after the place for quantizers
            meets = weights_BHNM.shape[-1] == v_BHMD.shape[-2]
            if meets:
                alternate(weights, values, _ROUNDS)
            error = product_error(weights, values) if meets else weights.own_error()
            if error < least:
                best, least = (weights.quantizer, values.quantizer), error
        assert best is not None  # noqa: S101 - there is a family, and errors are finite
        return best


def absorb_shift(layer: QuantLinear) -> None:
    """Reparameterize the bias: let the layer's bias take back the shift of its input's logarithm.

    W' (v - shift) + c = W' v + (c - shift W' 1), W' the rounded weight, v what the codes stand for.
    """
    quantizer = layer.quantize_input
    if isinstance(quantizer, AdaLog) and quantizer.restore:
        layer.add_to_bias(-quantizer.shift * layer.quantized_weight().sum(dim=1))
        quantizer.restore = False


def _families(x: torch.Tensor, bits: int, axis: int | None) -> list[QuantizerFamily]:
    """Return what quantizers there are to choose from for values like ``x``."""
    uniform = UniformFamily(bits, axis)
    if float(x.min()) < GELU_MINIMUM:
        return [uniform]
    return [uniform, AdaLogFamily(bits, axis, least_value(x).neg())]
