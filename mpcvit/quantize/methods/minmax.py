"""Uniform quantizers on whole ranges: a baseline."""

from __future__ import annotations

from typing import ClassVar

from mpcvit.quantize.methods.calibration import PlaceByPlace
from mpcvit.quantize.range import MinMax, RangeRule


class MinMaxCalibration(PlaceByPlace):
    """Uniform quantizers everywhere, on whole ranges."""

    rule: ClassVar[RangeRule] = MinMax()
