"""Linear ReLU attention: ReLU(Q) (ReLU(K)^T V) / (ReLU(Q) sum ReLU(K) + M epsilon) (L2ViT's global attention)."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.attention.kernel import AttentionKernel
from mpcvit.models.kinds import AttentionKind

#: Added to the mean weight of a row, that is to a mean of products of ReLUs. A power of two as in ``relu_softmax``; a
#: part of the mean, so that it weighs the same for any number of tokens.
EPSILON = 2.0**-4


class LinearRelu(AttentionKernel):
    """Linear ReLU heads: comparisons on Q and K instead of on scores, and no N x M matrix; one reciprocal per row."""

    kind: ClassVar[AttentionKind] = AttentionKind.LINEAR_RELU

    def forward(self, q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        q_BHND, k_BHMD = q_BHND.relu(), k_BHMD.relu()
        total_BHN1 = q_BHND @ k_BHMD.sum(dim=-2)[..., None] + EPSILON * k_BHMD.shape[-2]
        return q_BHND @ (k_BHMD.mT @ v_BHMD) / total_BHN1
