"""Attention to a few pooled tokens: softmax(Q P(K)^T) P(V), P the average over windows of patches.

A small part of DualToken-ViT (2023), whose global tokens also carry position and go from block to block.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.attention.kernel import AttentionKernel
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.token_flow import Tokens


class PooledKV(AttentionKernel):
    """Pooled heads: keys and values are averaged over windows to a grid of ``config.pooled_side`` squared.

    Pooling is public and linear, and the softmax has that many columns instead of M. A class token, which is no patch,
    stays a key of its own.

    Attributes:
        side: of the pooled grid.
        window: patches on each side of a window.
        patches: how many there are.
    """

    kind: ClassVar[AttentionKind] = AttentionKind.POOLED_KV

    def __init__(self, config: ViTConfig, heads: int, tokens: Tokens | None = None) -> None:
        super().__init__(config, heads, tokens)
        self.side = config.pooled_side
        side = self.tokens.side
        assert side is not None  # noqa: S101 - the configuration is checked
        self.window = side // config.pooled_side
        self.patches = side**2

    def forward(self, q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        scores = q_BHND @ self._pool(k_BHMD).mT
        weights: torch.Tensor = self.quantize_weights(scores.softmax(dim=-1))
        return weights @ self._pool(v_BHMD)

    def _pool(self, x_BHMD: torch.Tensor) -> torch.Tensor:
        own = x_BHMD.shape[-2] - self.patches  # tokens that are no patches
        *batch, _, width = x_BHMD.shape
        grid = x_BHMD[..., own:, :].reshape(*batch, self.side, self.window, self.side, self.window, width)
        pooled = grid.mean(dim=(-4, -2)).reshape(*batch, self.side**2, width)
        return torch.cat([x_BHMD[..., :own, :], pooled], dim=-2)
