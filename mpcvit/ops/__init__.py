"""The ops of a Program, one file each: reference, cost and execution side by side."""

from mpcvit.ops.add import Add
from mpcvit.ops.average_pool import AveragePool
from mpcvit.ops.concat import Concat
from mpcvit.ops.cost import Cost
from mpcvit.ops.grid_spline import GridSpline
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

#: Every op, for reading Programs from files.
OPS: tuple[type[Op], ...] = (
    Add,
    AveragePool,
    Concat,
    GridSpline,
    Linear,
    Matmul,
    Multiply,
    Nonnegative,
    Offset,
    Order,
    Pad,
    PairDifferences,
    Permute,
    Pick,
    Ranks,
    Relu,
    Rescale,
    Reshape,
    Scale,
    Slice,
    Spline,
    Square,
    Subtract,
    Sum,
    Unfold,
)

__all__ = [
    "OPS",
    "Add",
    "AveragePool",
    "Concat",
    "Cost",
    "GridSpline",
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
