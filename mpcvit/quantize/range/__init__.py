"""Rules that choose which range of values the codes cover, one file each."""

from mpcvit.quantize.range.minmax import MinMax
from mpcvit.quantize.range.mse import LeastError
from mpcvit.quantize.range.percentile import Percentile
from mpcvit.quantize.range.rule import RangeRule

__all__ = ["LeastError", "MinMax", "Percentile", "RangeRule"]
