"""Scaling attention: S V / M = Q (K^T V) / M (MPCViT, ICCV 2023, ScaleAttn)."""

from __future__ import annotations

import torch


def scaling(q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
    """Output of scaling heads. Linear in the scores, so K^T V comes first: no N x M matrix and no comparison."""
    return q_BHND @ (k_BHMD.mT @ v_BHMD) / k_BHMD.shape[-2]
