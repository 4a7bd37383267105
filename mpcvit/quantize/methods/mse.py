"""Uniform quantizers on ranges of least squared error: a baseline."""

from __future__ import annotations

from typing import ClassVar

from mpcvit.quantize.calibrate.place_by_place import PlaceByPlace
from mpcvit.quantize.config import Method
from mpcvit.quantize.ranges import LeastError, RangeRule


class LeastErrorCalibration(PlaceByPlace):
    """Uniform quantizers everywhere, on ranges of least squared error."""

    method: ClassVar[Method] = Method.MSE
    rule: ClassVar[RangeRule] = LeastError()
