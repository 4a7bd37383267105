"""Uniform quantizers on ranges without their tails: a baseline."""

from __future__ import annotations

from typing import ClassVar

from mpcvit.quantize.methods.calibration import PlaceByPlace
from mpcvit.quantize.range import Percentile, RangeRule


class PercentileCalibration(PlaceByPlace):
    """Uniform quantizers everywhere, on ranges without their tails."""

    rule: ClassVar[RangeRule] = Percentile()
