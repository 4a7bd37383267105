"""Prompts that depend on the picture (DVPT, He et al. 2023): tokens that a few learnt queries read from the patches.

Axes: B batch, N patches, P prompts, D width, W width of the bottleneck.

The source's formulas are not public; this is what its description says: a bottleneck adapts the features, and learnt
prompts are the queries of a cross-attention to what it gives. There a module may serve several layers. Here it reads
the embedding once, and its tokens go through all blocks, so that every attention kind serves them unchanged.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import gelu

from mpcvit.models.norm import LayerNorm
from mpcvit.models.prompts import Prompts


class DynamicPrompts(nn.Module):
    """base + up(softmax(queries h^T / sqrt(W)) h) with h = gelu(down(norm(patches))).

    ``up`` begins at 0: at first prompts are the learnt ``base``, as those of VPT.
    """

    def __init__(self, config: Prompts, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.down = nn.Linear(dim, config.width)
        self.queries = nn.Parameter(torch.empty(config.count, config.width))
        self.up = nn.Linear(config.width, dim)
        self.base = nn.Parameter(torch.empty(config.count, dim))
        self.initialise()

    def initialise(self) -> None:
        """Give queries, base and the last layer their first values."""
        nn.init.normal_(self.queries)
        nn.init.trunc_normal_(self.base, std=0.02)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, patches_BND: torch.Tensor) -> torch.Tensor:
        """Return the prompts [B, P, D]."""
        h_BNW = gelu(self.down(self.norm(patches_BND)))
        scores_BPN = self.queries @ h_BNW.mT * self.queries.shape[-1] ** -0.5
        prompts: torch.Tensor = self.base + self.up(scores_BPN.softmax(dim=-1) @ h_BNW)
        return prompts.to(patches_BND.dtype)
