"""Scaling attention: S V / M = Q (K^T V) / M (MPCViT, ICCV 2023, ScaleAttn)."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.attention.kernel import ScoreKernel
from mpcvit.models.kinds import AttentionKind


class Scaling(ScoreKernel):
    """Scaling heads. Linear in the scores, so K^T V comes first: no N x M matrix and no comparison.

    A mask on the scores forbids that order.
    """

    kind: ClassVar[AttentionKind] = AttentionKind.SCALING

    def forward(
        self,
        q_BHND: torch.Tensor,
        k_BHMD: torch.Tensor,
        v_BHMD: torch.Tensor,
        mask_HNM: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if mask_HNM is not None:
            return super().forward(q_BHND, k_BHMD, v_BHMD, mask_HNM)
        return q_BHND @ (k_BHMD.mT @ v_BHMD) / k_BHMD.shape[-2]

    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        return scores_BHNM @ v_BHMD / v_BHMD.shape[-2]
