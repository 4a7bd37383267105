"""A mask on the scores that falls with distance: a mixture of 2-parameter Gaussians (GMM attention).

M_ij = sum_k alpha_k exp(-d_ij^2 / 2)^(1 / (sigma_k^2 + epsilon)), d_ij the distance of two patches in the grid.

The mask depends on weights only, and tells about them, so under MPC it is a secret parameter: export computes it in
clear as one [H, N, M] tensor (with other public factors of the scores folded in), and every score is multiplied with
it: one secret product and one rescaling per score.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import pad

from mpcvit.models.config import ViTConfig
from mpcvit.models.token_flow import Tokens

#: Bounds how narrow a component can be. Nothing of it reaches fixed point, so it need not be a power of two.
_EPSILON = 1e-2


class GmmMask(nn.Module):
    """The masks of all ``heads`` of a block; a head has ``config.gmm`` components of its own.

    The components' weights begin at 1 / components and not at 2 randn as in the source, so that a wide mask begins as
    none. Scores of a class token and its like, which have no place, are not masked.
    """

    def __init__(self, config: ViTConfig, heads: int, tokens: Tokens | None = None) -> None:
        super().__init__()
        grid = (tokens or config.input_tokens).side
        assert grid is not None  # noqa: S101 - the configuration is checked
        self.own = (tokens or config.input_tokens).own
        self.alpha = nn.Parameter(torch.full((heads, config.gmm), 1 / config.gmm))
        self.sigma = nn.Parameter(10 + 10 * torch.randn(heads, config.gmm))
        side = torch.arange(grid, dtype=torch.get_default_dtype())
        places = torch.cartesian_prod(side, side)
        squares = (places[:, None] - places[None, :]).square().sum(-1)
        self.squared_distance: torch.Tensor
        self.register_buffer("squared_distance", squares, persistent=False)

    def forward(self) -> torch.Tensor:
        """Return factors [H, N, M] of the scores; N = M = tokens."""
        rate_HK = 1 / (2 * (self.sigma.square() + _EPSILON))
        gaussians_HKNM = torch.exp(-rate_HK[..., None, None] * self.squared_distance)
        mask_HNM = (self.alpha[..., None, None] * gaussians_HKNM).sum(dim=1)
        return pad(mask_HNM, (self.own, 0, self.own, 0), value=1.0) if self.own else mask_HNM
