"""Squared scores: S^2 V / M, what PriViT (TMLR 2024) puts in place of a softmax (there with M fixed to 197)."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.attention.kernel import ScoreKernel
from mpcvit.models.kinds import AttentionKind


class Square(ScoreKernel):
    """Square heads: one product per score, no comparison and no division by a secret."""

    kind: ClassVar[AttentionKind] = AttentionKind.SQUARE

    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        weights_BHNM: torch.Tensor = self.quantize_weights(scores_BHNM.square())
        return weights_BHNM @ v_BHMD / v_BHMD.shape[-2]
