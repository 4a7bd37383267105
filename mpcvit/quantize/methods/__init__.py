"""Quantization methods, one file each. A new one needs a file here and its name in ``Method``."""

from mpcvit.members import members
from mpcvit.quantize.calibrate.calibration import Calibration

METHODS = {kind.method: kind for kind in members(__name__, Calibration)}  # type: ignore[type-abstract]

__all__ = ["METHODS"]
