"""MPTQ-ViT (2024): SQ-b behind norms, OPT-m for GELU and attention weights, uniform quantizers elsewhere.

The source has no public code; the choice of alpha and of ranges is ours.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.quantize.calibrate.calibration import LinearSite
from mpcvit.quantize.calibrate.norm_rewrite import rewrite
from mpcvit.quantize.calibrate.place_by_place import PlaceByPlace, fitted
from mpcvit.quantize.config import Method
from mpcvit.quantize.quantizers.adalog import GELU_MINIMUM
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.twin import Split, TwinUniform
from mpcvit.quantize.quantizers.uniform import Uniform
from mpcvit.quantize.ranges import LeastError, RangeRule

#: How much of a channel's range goes from the activations into the weights: all at 1, as in RepQ-ViT.
_ALPHAS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Rows that the layer's error is measured on.
_ROWS = 2048
_TINY = 1e-5


class MptqCalibration(PlaceByPlace):
    """Ranges of least squared error; behind norms SQ-b with the alpha of least error of the layer's output."""

    method: ClassVar[Method] = Method.MPTQ
    rule: ClassVar[RangeRule] = LeastError()

    def behind_norm(self, site: LinearSite) -> Quantizer:
        x_RC, weight = site.x, site.layer.weight.detach()
        low_C, high_C = x_RC.aminmax(dim=0)
        centre_C = (low_C + high_C) / 2
        reach_C, weight_C = ((high_C - low_C) / 2).clamp(min=_TINY), weight.abs().amax(dim=0).clamp(min=_TINY)
        choices = [reach_C**alpha / weight_C ** (1 - alpha) for alpha in _ALPHAS]
        sample_RC = x_RC[:: max(1, len(x_RC) // _ROWS)]
        errors = [self._error(site, sample_RC, centre_C, divisor_C) for divisor_C in choices]
        divisor_C = choices[errors.index(min(errors))]
        return self.activation(rewrite(site, divisor_C, centre_C / divisor_C).x, site.bits.activation)

    def _error(self, site: LinearSite, x_RC: torch.Tensor, centre_C: torch.Tensor, divisor_C: torch.Tensor) -> float:
        """Return the squared error of the layer's output with these divisors."""
        smooth_RC, weight = (x_RC - centre_C) / divisor_C, site.layer.weight * divisor_C
        quantize_x = self.activation(smooth_RC, site.bits.activation)
        quantize_weight = self.weight(weight, site.bits.weight)
        return float((quantize_x(smooth_RC) @ quantize_weight(weight).mT - smooth_RC @ weight.mT).square().sum())

    def activation(self, x: torch.Tensor, bits: int) -> Quantizer:
        uniform = fitted(Uniform(bits, rule=self.rule), x)
        least = float(x.min())
        if least < GELU_MINIMUM * 1.001:
            return uniform
        twin = fitted(TwinUniform(bits, split=Split.SIZE if least >= 0 else Split.SIGN), x)
        return min((uniform, twin), key=lambda quantizer: float((quantizer(x) - x).square().sum()))

    def attention_weights(self, weights: torch.Tensor, bits: int) -> Quantizer:
        return self.activation(weights, bits)
