"""Smooth optimisation (I&S-ViT, 2023): a part is fine-tuned in real arithmetic before its weights are rounded."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import ClassVar

from torch import nn

from mpcvit.quantize.places import QuantLinear
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.reconstruct.learner import Learner, LearningStage, Rate

#: Steps times learning rate, as the source has it with 1,000 steps for 3 and 4 bits, up to a rate that is still stable.
_PATH, _LARGEST_RATE = 0.04, 4e-4


class SmoothOptimisation(Learner):
    """The source's three stages (SOS): real weights first, quantized ones after the step to one scale per tensor.

    First, a part's weights and biases are fine-tuned with quantized activations and weights in real arithmetic. The
    source does that with a scale per channel behind norms, and only then rewrites norms and layers to one scale; as the
    rewriting leaves every code what it was, both are the same function, and calibration has done the second stage
    already. In the third stage ranges of weights are chosen anew, and weights are fine-tuned through their rounding.
    """

    batch: ClassVar[int] = 64

    def stages(self, part: nn.Module, steps: int, learnt: Set[nn.Parameter] = frozenset()) -> Iterator[LearningStage]:
        everything = [module for module in part.modules() if isinstance(module, QuantLinear)]
        layers = [layer for layer in everything if layer.weight not in learnt]
        own = {parameter: None for layer in everything for parameter in layer.parameters(recurse=False)}
        parameters = tuple(parameter for parameter in own if parameter not in learnt)
        stage = LearningStage(rates=(Rate(parameters, min(_PATH / steps, _LARGEST_RATE), cosine=True),))
        quantizers = {layer: layer.quantize_weight for layer in layers}
        for layer in layers:
            layer.quantize_weight = nn.Identity()
        yield stage
        for layer, quantizer in quantizers.items():
            if isinstance(quantizer, Quantizer):
                quantizer.fit(layer.weight.detach())
            layer.quantize_weight = quantizer
        yield stage
