"""All kinds of quantizers by the names that files have for them."""

from __future__ import annotations

from mpcvit.quantize.adalog import AdaLog
from mpcvit.quantize.log_sqrt2 import LogSqrt2
from mpcvit.quantize.power_of_two import PowerOfTwo
from mpcvit.quantize.quantizer import Quantizer
from mpcvit.quantize.sulq import ShiftUniformLog2
from mpcvit.quantize.tanq import ReconstructedTanQ
from mpcvit.quantize.twin import TwinUniform
from mpcvit.quantize.uniform import Uniform

QUANTIZERS: dict[str, type[Quantizer]] = {
    quantizer.kind: quantizer
    for quantizer in (Uniform, PowerOfTwo, LogSqrt2, AdaLog, TwinUniform, ShiftUniformLog2, ReconstructedTanQ)
}
