"""How each attention kind becomes ops, one file per kind.

A lowering takes the builder, a name and one group of heads, and gives the output [H, N, D] with ordinary precision.
Names of what it adds begin with the name it is given.
"""

from collections.abc import Callable

import torch

from mpcvit.export.attention.heads import Heads
from mpcvit.export.attention.linear_relu import lower_linear_relu
from mpcvit.export.attention.linformer import lower_linformer
from mpcvit.export.attention.pooled_kv import lower_pooled_kv
from mpcvit.export.attention.quad2 import lower_quad2, quad2_query_gain
from mpcvit.export.attention.relu_softmax import lower_relu_softmax
from mpcvit.export.attention.scaling import lower_scaling
from mpcvit.export.attention.softmax import lower_softmax
from mpcvit.export.attention.square import lower_square, square_query_gain
from mpcvit.export.attention.thex import lower_thex
from mpcvit.export.builder import Builder, Value
from mpcvit.models.attention import AttentionKernel
from mpcvit.models.config import AttentionKind

ATTENTION: dict[AttentionKind, Callable[[Builder, str, Heads], Value]] = {
    AttentionKind.SOFTMAX: lower_softmax,
    AttentionKind.RELU_SOFTMAX: lower_relu_softmax,
    AttentionKind.SCALING: lower_scaling,
    AttentionKind.SQUARE: lower_square,
    AttentionKind.QUAD2: lower_quad2,
    AttentionKind.LINEAR_RELU: lower_linear_relu,
    AttentionKind.LINFORMER: lower_linformer,
    AttentionKind.THEX: lower_thex,
    AttentionKind.POOLED_KV: lower_pooled_kv,
}

#: Factors [heads] that the lowering of a kind wants folded into the query weights, from its kernel and the number of
#: tokens; 1 for kinds that are not here.
QUERY_GAIN: dict[AttentionKind, Callable[[AttentionKernel, int], torch.Tensor]] = {
    AttentionKind.SQUARE: square_query_gain,
    AttentionKind.QUAD2: quad2_query_gain,
}

__all__ = ["ATTENTION", "QUERY_GAIN", "Heads"]
