"""How each attention kind becomes ops, one file per kind.

A lowering takes the builder, a name and one group of heads, q [H, N, D] (already scaled by 1/sqrt(D)), the transposed
keys [H, D, M] and v [H, M, D], all with ordinary precision, and gives the output [H, N, D] with ordinary precision.
"""

from collections.abc import Callable

from mpcvit.export.attention.relu_softmax import lower_relu_softmax
from mpcvit.export.attention.scaling import lower_scaling
from mpcvit.export.attention.softmax import lower_softmax
from mpcvit.export.builder import Builder, Value
from mpcvit.models.config import AttentionKind

ATTENTION: dict[AttentionKind, Callable[[Builder, str, Value, Value, Value], Value]] = {
    AttentionKind.SOFTMAX: lower_softmax,
    AttentionKind.RELU_SOFTMAX: lower_relu_softmax,
    AttentionKind.SCALING: lower_scaling,
}

__all__ = ["ATTENTION"]
