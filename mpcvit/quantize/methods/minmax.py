"""Uniform quantizers on whole ranges: a baseline."""

from __future__ import annotations

from typing import ClassVar

from mpcvit.quantize.calibrate.place_by_place import PlaceByPlace
from mpcvit.quantize.config import Method
from mpcvit.quantize.ranges import MinMax, RangeRule


class MinMaxCalibration(PlaceByPlace):
    """Uniform quantizers everywhere, on whole ranges."""

    method: ClassVar[Method] = Method.MINMAX
    rule: ClassVar[RangeRule] = MinMax()
