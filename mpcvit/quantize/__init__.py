"""Post-training quantization: quantizers, methods, and what they become on secret shares."""

from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.quantize import quantize

__all__ = ["Bits", "Method", "QuantizeConfig", "quantize"]
