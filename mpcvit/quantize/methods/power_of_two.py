"""Powers of two: activations rounded as fixed point on secret shares rounds them, weights on whole ranges."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.quantize.methods.calibration import PlaceByPlace, fitted
from mpcvit.quantize.power_of_two import PowerOfTwo
from mpcvit.quantize.quantizer import Quantizer
from mpcvit.quantize.range import MinMax, RangeRule


class PowerOfTwoCalibration(PlaceByPlace):
    """What is free on shares and nothing else, so that lowering replaces no rule by another."""

    rule: ClassVar[RangeRule] = MinMax()

    def activation(self, x: torch.Tensor, bits: int) -> Quantizer:
        return fitted(PowerOfTwo(bits), x)
