"""Averages over windows of patches, the same for every picture (the pooling inside the stack of ViT-UHD).

Public and linear: under MPC it costs nothing. Axes: B batch, N tokens, D width.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.kinds import ReductionKind
from mpcvit.models.reduction.reduction import TokenReduction
from mpcvit.models.token_flow import Tokens


class WindowPoolReduction(TokenReduction):
    """Means of square windows; a class token stays as it is. Has no parameters.

    Args:
        before, after: the tokens that come in and go out, both grids, the first side a multiple of the second.
    """

    kind: ClassVar[ReductionKind] = ReductionKind.WINDOW_POOL

    def __init__(self, dim: int, before: Tokens, after: Tokens) -> None:
        super().__init__(dim, before, after)
        assert before.side is not None and after.side is not None  # noqa: S101, PT018 - the configuration is checked
        self.side = after.side
        self.window = before.side // after.side

    def forward(self, x_BND: torch.Tensor, *attention: torch.Tensor) -> torch.Tensor:
        """Return [B, own + side^2, D]."""
        batch, _, width = x_BND.shape
        grid = x_BND[:, self.own :].reshape(batch, self.side, self.window, self.side, self.window, width)
        pooled = grid.mean(dim=(2, 4)).reshape(batch, self.side**2, width)
        return torch.cat([x_BND[:, : self.own], pooled], dim=1)
