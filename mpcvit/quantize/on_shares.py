"""What becomes of a quantized model on secret shares (dossier D.5).

Rounded weights are free there, and so are rewritten norms and biases. Activations are rounded to powers of two and not
clamped, whatever quantizers were calibrated for them; each of those says so in ``secure``.
"""

from __future__ import annotations

import copy

import torch

from mpcvit.compress.compression import check_images
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.adalog import AdaLog
from mpcvit.quantize.capture import activation_places, capture, trace
from mpcvit.quantize.power_of_two import PowerOfTwo
from mpcvit.quantize.quantized import QuantLinear, places, quantizers, without_places
from mpcvit.quantize.quantizer import Quantizer


@torch.no_grad()
def with_rounded_weights(model: VisionTransformer) -> VisionTransformer:
    """A plain model, to be exported, with the rounded weights of ``model`` and no quantizers of activations."""
    return without_places(_without_shifts(model))


@torch.no_grad()
def with_powers_of_two(model: VisionTransformer, images: torch.Tensor) -> VisionTransformer:
    """A copy of ``model`` that rounds its activations as the secure path does, with codes of the same widths.

    Args:
        images: calibration pictures, float [count, channels, size, size].

    Raises:
        InputError: ``images`` has another shape than the model's input.
    """
    check_images(model, images)
    converted = _without_shifts(model)
    traced = trace(converted, images[:1])
    for stage in traced.stages():
        seen = capture(converted, traced.calls, stage, images)
        for name, values in seen.items():
            current = activation_places(converted)[name]
            if isinstance(current, Quantizer):
                quantizer = PowerOfTwo(current.bits)
                quantizer.fit(values)
                places(converted)[name].put(quantizer)
    return converted


def _without_shifts(model: VisionTransformer) -> VisionTransformer:
    """A copy of ``model`` in which no layer's bias has taken up a shift of its input's quantizer."""
    clear = copy.deepcopy(model)
    for name, quantizer in quantizers(clear).items():
        layer = places(clear)[name].module
        if isinstance(quantizer, AdaLog) and not quantizer.restore and isinstance(layer, QuantLinear):
            layer.add_to_bias(quantizer.shift * layer.quantized_weight().sum(dim=1))
            quantizer.restore = True
    return clear
