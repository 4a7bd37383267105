"""Ordinary attention: softmax(S) V (Vaswani et al. 2017)."""

from __future__ import annotations

import torch


def softmax(q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
    """Output of softmax heads. Under MPC the dearest kind: a row maximum, exponentials, a reciprocal."""
    scores_BHNM = q_BHND @ k_BHMD.mT
    return scores_BHNM.softmax(dim=-1) @ v_BHMD
