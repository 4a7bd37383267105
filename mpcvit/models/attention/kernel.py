"""What all attention kernels have in common. Axes: B batch, H heads, N queries, M keys, D head dim."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import nn

from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.token_flow import Tokens


class AttentionKernel(nn.Module, ABC):
    """The heads of one kind in one block.

    Args:
        config: the model's configuration.
        heads: how many heads of the block are of this kind.
        tokens: that they mix; by default those that enter the model.

    Attributes:
        kind: what these heads are.
        quantize_weights: what the attention weights go through before they meet V, for kinds that have weights for
            pairs of tokens; a quantized model has a quantizer there.
    """

    kind: ClassVar[AttentionKind]

    def __init__(self, config: ViTConfig, heads: int, tokens: Tokens | None = None) -> None:
        super().__init__()
        self.tokens = tokens or config.input_tokens
        self.quantize_weights: nn.Module = nn.Identity()

    def initialise(self) -> None:
        """Give the kind's parameters, if it has any, their first values."""

    @abstractmethod
    def forward(self, q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        """Return the output [B, H, N, D] of the heads; ``q_BHND`` is scaled by 1/sqrt(D)."""


class ScoreKernel(AttentionKernel):
    """Heads that need a score for every pair of tokens, which a mask can multiply."""

    def forward(
        self,
        q_BHND: torch.Tensor,
        k_BHMD: torch.Tensor,
        v_BHMD: torch.Tensor,
        mask_HNM: torch.Tensor | None = None,
    ) -> torch.Tensor:
        scores_BHNM = q_BHND @ k_BHMD.mT
        return self.mix(scores_BHNM if mask_HNM is None else scores_BHNM * mask_HNM, v_BHMD)

    @abstractmethod
    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        """Return the output [B, H, N, D] from scores that are scaled and, if there is a mask, masked."""
