"""Ordinary attention: softmax(S) V (Vaswani et al. 2017)."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.attention.kernel import ScoreKernel
from mpcvit.models.kinds import AttentionKind


class Softmax(ScoreKernel):
    """Softmax heads. Under MPC the most expensive kind: a row maximum, exponentials, a reciprocal."""

    kind: ClassVar[AttentionKind] = AttentionKind.SOFTMAX

    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        weights_BHNM: torch.Tensor = self.quantize_weights(scores_BHNM.softmax(dim=-1))
        return weights_BHNM @ v_BHMD
