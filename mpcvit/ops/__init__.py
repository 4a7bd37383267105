"""The ops of a Program, one file each: what an op is. Engines register how they run it."""

from mpcvit.members import members
from mpcvit.ops.add import Add
from mpcvit.ops.average_pool import AveragePool
from mpcvit.ops.concat import Concat
from mpcvit.ops.gather import Gather
from mpcvit.ops.grid_spline import GridSpline
from mpcvit.ops.input_check import InputCheck
from mpcvit.ops.linear import Linear
from mpcvit.ops.matmul import Matmul
from mpcvit.ops.multiply import Multiply
from mpcvit.ops.nonnegative import Nonnegative
from mpcvit.ops.offset import Offset
from mpcvit.ops.op import Op
from mpcvit.ops.order import Order
from mpcvit.ops.pad import Pad
from mpcvit.ops.pair_differences import PairDifferences
from mpcvit.ops.permute import Permute
from mpcvit.ops.pick import Pick
from mpcvit.ops.ranks import Ranks
from mpcvit.ops.relu import Relu
from mpcvit.ops.rescale import Rescale
from mpcvit.ops.reshape import Reshape
from mpcvit.ops.scale import Scale
from mpcvit.ops.slice import Slice
from mpcvit.ops.spline import Spline
from mpcvit.ops.square import Square
from mpcvit.ops.subtract import Subtract
from mpcvit.ops.sum import Sum
from mpcvit.ops.types import Shape, TensorType
from mpcvit.ops.unfold import Unfold

#: Every op, for reading Programs from files: all classes in the modules of this package.
OPS: tuple[type[Op], ...] = tuple(members(__name__, Op))  # type: ignore[type-abstract]  # found by their base

__all__ = [
    "OPS",
    "Add",
    "AveragePool",
    "Concat",
    "Gather",
    "GridSpline",
    "InputCheck",
    "Linear",
    "Matmul",
    "Multiply",
    "Nonnegative",
    "Offset",
    "Op",
    "Order",
    "Pad",
    "PairDifferences",
    "Permute",
    "Pick",
    "Ranks",
    "Relu",
    "Rescale",
    "Reshape",
    "Scale",
    "Shape",
    "Slice",
    "Spline",
    "Square",
    "Subtract",
    "Sum",
    "TensorType",
    "Unfold",
]
