"""Linformer attention (Wang et al. 2020): softmax(Q (E K)^T) (F V) with learned [k, M] matrices E and F."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from mpcvit.models.attention.kernel import AttentionKernel
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.token_flow import Tokens


class Linformer(AttentionKernel):
    """Linformer heads; the heads of a block share E and F, of ``config.linformer_rank`` rows.

    The row maximum, the exponentials and the rest of the softmax run over k columns instead of M.
    """

    kind: ClassVar[AttentionKind] = AttentionKind.LINFORMER

    def __init__(self, config: ViTConfig, heads: int, tokens: Tokens | None = None) -> None:
        super().__init__(config, heads, tokens)
        self.key_projection = nn.Parameter(torch.empty(config.linformer_rank, self.tokens.count))
        self.value_projection = nn.Parameter(torch.empty(config.linformer_rank, self.tokens.count))
        self.initialise()

    def initialise(self) -> None:
        for projection in (self.key_projection, self.value_projection):
            nn.init.xavier_normal_(projection, gain=2**0.5)

    def forward(self, q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        scores = q_BHND @ (self.key_projection @ k_BHMD).mT
        weights: torch.Tensor = self.quantize_weights(scores.softmax(dim=-1))
        return weights @ (self.value_projection @ v_BHMD)
