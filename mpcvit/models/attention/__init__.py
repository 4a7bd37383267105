"""Attention kernels, one file per kind. Axes: B batch, H heads, N queries, M keys, D head dim."""

from mpcvit.models.attention.kernel import AttentionKernel, ScoreKernel
from mpcvit.models.attention.linear_relu import LinearRelu
from mpcvit.models.attention.linformer import Linformer
from mpcvit.models.attention.pooled_kv import PooledKV
from mpcvit.models.attention.quad2 import Quad2
from mpcvit.models.attention.relu_softmax import ReluSoftmax
from mpcvit.models.attention.scaling import Scaling
from mpcvit.models.attention.softmax import Softmax
from mpcvit.models.attention.square import Square
from mpcvit.models.attention.thex import TheX
from mpcvit.models.config import AttentionKind

KERNELS: dict[AttentionKind, type[AttentionKernel]] = {
    AttentionKind.SOFTMAX: Softmax,
    AttentionKind.RELU_SOFTMAX: ReluSoftmax,
    AttentionKind.SCALING: Scaling,
    AttentionKind.SQUARE: Square,
    AttentionKind.QUAD2: Quad2,
    AttentionKind.LINEAR_RELU: LinearRelu,
    AttentionKind.LINFORMER: Linformer,
    AttentionKind.THEX: TheX,
    AttentionKind.POOLED_KV: PooledKV,
}

__all__ = ["KERNELS", "AttentionKernel", "ScoreKernel"]
