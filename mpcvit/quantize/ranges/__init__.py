"""Rules that choose which range of values the codes cover, one file each, and the grids on ranges."""

from mpcvit.quantize.ranges.minmax import MinMax
from mpcvit.quantize.ranges.mse import LeastError
from mpcvit.quantize.ranges.percentile import Percentile
from mpcvit.quantize.ranges.rule import RangeRule

__all__ = ["LeastError", "MinMax", "Percentile", "RangeRule"]
