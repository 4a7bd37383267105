"""Ordinary attention: softmax(S) V (Vaswani et al. 2017)."""

from __future__ import annotations

import torch

from mpcvit.models.attention.kernel import ScoreKernel


class Softmax(ScoreKernel):
    """Softmax heads. Under MPC the dearest kind: a row maximum, exponentials, a reciprocal."""

    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        weights_BHNM: torch.Tensor = self.quantize_weights(scores_BHNM.softmax(dim=-1))
        return weights_BHNM @ v_BHMD
