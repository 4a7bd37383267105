"""Uniform quantizers on ranges without their tails: a baseline."""

from __future__ import annotations

from typing import ClassVar

from mpcvit.quantize.calibrate.place_by_place import PlaceByPlace
from mpcvit.quantize.config import Method
from mpcvit.quantize.ranges import Percentile, RangeRule


class PercentileCalibration(PlaceByPlace):
    """Uniform quantizers everywhere, on ranges without their tails."""

    method: ClassVar[Method] = Method.PERCENTILE
    rule: ClassVar[RangeRule] = Percentile()
