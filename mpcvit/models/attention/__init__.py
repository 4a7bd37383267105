"""Attention kernels, one file per kind. Axes: B batch, H heads, N queries, M keys, D head dim."""

from collections.abc import Callable

import torch

from mpcvit.models.attention.relu_softmax import relu_softmax
from mpcvit.models.attention.scaling import scaling
from mpcvit.models.attention.softmax import softmax
from mpcvit.models.config import AttentionKind

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

#: (q_BHND scaled by 1/sqrt(D), k_BHMD, v_BHMD) -> output_BHND
KERNELS: dict[AttentionKind, Kernel] = {
    AttentionKind.SOFTMAX: softmax,
    AttentionKind.RELU_SOFTMAX: relu_softmax,
    AttentionKind.SCALING: scaling,
}

__all__ = ["KERNELS", "Kernel"]
