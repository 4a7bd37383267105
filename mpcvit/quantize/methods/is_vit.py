"""I&S-ViT (2023): shift-uniform-log2 attention weights, norms rewritten as in RepQ-ViT, and smooth optimisation."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.quantize.calibrate.place_by_place import fitted
from mpcvit.quantize.config import Method
from mpcvit.quantize.methods.repq import RepQCalibration
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.sulq import ShiftUniformLog2
from mpcvit.quantize.quantizers.uniform import Uniform
from mpcvit.quantize.ranges import Percentile, RangeRule
from mpcvit.quantize.reconstruct.learner import Learner
from mpcvit.quantize.reconstruct.smooth_optimisation import SmoothOptimisation

_WEIGHT_PERCENTILES = Percentile((0.97, 0.98, 0.99, 0.995, 0.9995, 0.9997, 0.9999, 0.99995, 0.99999))


class IsVitCalibration(RepQCalibration):
    """RepQ-ViT's, with SULQ for attention weights and a search over percentiles for weights."""

    method: ClassVar[Method] = Method.IS_VIT
    learner: ClassVar[type[Learner]] = SmoothOptimisation
    weight_rule: ClassVar[RangeRule] = _WEIGHT_PERCENTILES

    def weight(self, weight: torch.Tensor, bits: int) -> Quantizer:
        return fitted(Uniform(bits, axis=0, rule=self.weight_rule), weight)

    def attention_weights(self, weights: torch.Tensor, bits: int) -> Quantizer:
        if weights.min() < 0:  # THE-X's have no logarithm
            return self.activation(weights, bits)
        return fitted(ShiftUniformLog2(bits), weights)
