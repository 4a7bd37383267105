"""ReLU attention: ReLU(S) V / (sum ReLU(S) + epsilon) (MPCViT, ICCV 2023, RSAttn)."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.attention.kernel import ScoreKernel
from mpcvit.models.kinds import AttentionKind

#: Keeps the denominator away from 0. MPCViT trains with 1e-5, which fixed point rounds to nothing and whose reciprocal
#: needs 17 bits of range; a power of two that 12 fractional bits hold exactly costs no accuracy when trained with.
EPSILON = 2.0**-4


class ReluSoftmax(ScoreKernel):
    """ReLU-softmax heads, normalised after the product with V: one factor per row instead of per score."""

    kind: ClassVar[AttentionKind] = AttentionKind.RELU_SOFTMAX

    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        weights_BHNM = self.quantize_weights(scores_BHNM.relu())
        output_BHND: torch.Tensor = (weights_BHNM @ v_BHMD) / (weights_BHNM.sum(dim=-1, keepdim=True) + EPSILON)
        return output_BHND
