"""Locally-enhanced positional encoding (CSWin Transformer, CVPR 2022, section 3.3): attention(Q, K, V) + DWConv(V).

Neighbouring patches mix by a learned 3 x 3 convolution, whatever kind the heads are, which gives small data sets the
locality that attention has to learn. Under MPC it is a product of V, which is opened for the attention anyway, with a
weight: no round, no comparison, and one rescaling that runs beside the attention's own.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import conv2d

from mpcvit.models.config import ViTConfig
from mpcvit.models.token_flow import Tokens

_SIDE = 3


class Lepe(nn.Module):
    """The convolutions of all ``heads`` of a block: each filter is for neighbouring channels of a head.

    The source has a filter per channel. Sharing one keeps the matrices small that the secure product needs. Filters
    begin at 0, as none. A class token, which has no neighbours, gets and gives nothing. Tokens have to be a grid.
    """

    def __init__(self, config: ViTConfig, heads: int, tokens: Tokens | None = None) -> None:
        super().__init__()
        tokens = tokens or config.input_tokens
        assert tokens.side is not None  # noqa: S101 - elsewhere blocks have none
        self.side = tokens.side
        self.patches = self.side**2
        self.own = tokens.own
        self.channels = config.head_dim // config.filters_per_head
        self.weight = nn.Parameter(torch.zeros(heads * config.filters_per_head, 1, _SIDE, _SIDE))

    def forward(self, v_BHND: torch.Tensor) -> torch.Tensor:
        """Return what is added to the heads' outputs [B, H, N, D]."""
        batch, heads, _, width = v_BHND.shape
        grid = v_BHND[:, :, self.own :].permute(0, 1, 3, 2).reshape(batch, heads * width, self.side, self.side)
        weight = self.weight.repeat_interleave(self.channels, dim=0)
        mixed = conv2d(grid, weight, padding=_SIDE // 2, groups=heads * width)
        mixed_BHND = mixed.reshape(batch, heads, width, self.patches).permute(0, 1, 3, 2)
        return nn.functional.pad(mixed_BHND, (0, 0, self.own, 0)) if self.own else mixed_BHND

    def matrices(self) -> torch.Tensor:
        """Return the filters as matrices [filters, N, N] over tokens."""
        basis = torch.eye(self.patches, dtype=self.weight.dtype, device=self.weight.device)
        grid = basis.reshape(self.patches, 1, self.side, self.side)
        columns = conv2d(grid, self.weight, padding=_SIDE // 2).reshape(self.patches, -1, self.patches)
        return nn.functional.pad(columns.permute(1, 2, 0), (self.own, 0, self.own, 0))
