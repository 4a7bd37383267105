"""Uniform quantizers on ranges of least squared error: a baseline."""

from __future__ import annotations

from typing import ClassVar

from mpcvit.quantize.methods.calibration import PlaceByPlace
from mpcvit.quantize.range import LeastError, RangeRule


class LeastErrorCalibration(PlaceByPlace):
    """Uniform quantizers everywhere, on ranges of least squared error."""

    rule: ClassVar[RangeRule] = LeastError()
