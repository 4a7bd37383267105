"""Powers of two: activations rounded as fixed point on secret shares rounds them, weights on whole ranges."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.quantize.calibrate.place_by_place import PlaceByPlace, fitted
from mpcvit.quantize.config import Method
from mpcvit.quantize.quantizers.power_of_two import PowerOfTwo
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.ranges import MinMax, RangeRule


class PowerOfTwoCalibration(PlaceByPlace):
    """What is free on shares and nothing else, so that lowering replaces no rule by another."""

    method: ClassVar[Method] = Method.POWER_OF_TWO
    rule: ClassVar[RangeRule] = MinMax()

    def activation(self, x: torch.Tensor, bits: int) -> Quantizer:
        return fitted(PowerOfTwo(bits), x)
