"""Averages over windows of patches, the same for every picture (the pooling inside the stack of ViT-UHD; dossier C.5).

Public and linear: under MPC it costs nothing. Axes: B batch, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.models.token_flow import Tokens


class WindowPool(nn.Module):
    """Means of square windows; a class token stays as it is. Has no parameters.

    Args:
        before, after: the tokens that come in and go out, both grids, the first side a multiple of the second.
    """

    def __init__(self, before: Tokens, after: Tokens) -> None:
        super().__init__()
        assert before.side is not None and after.side is not None  # noqa: S101, PT018 - the configuration is checked
        self.own = before.own
        self.side = after.side
        self.window = before.side // after.side

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """[B, own + side^2, D]."""
        batch, _, width = x_BND.shape
        grid = x_BND[:, self.own :].reshape(batch, self.side, self.window, self.side, self.window, width)
        pooled = grid.mean(dim=(2, 4)).reshape(batch, self.side**2, width)
        return torch.cat([x_BND[:, : self.own], pooled], dim=1)
