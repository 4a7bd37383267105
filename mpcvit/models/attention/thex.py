"""THE-X's softmax substitute (Findings of ACL 2022) as MPCViT re-implemented it: S * T(mean_j ReLU((s_j / 2 + 1)^3)) V.

T is three linear layers, 1 -> 64 -> 128 -> M, without activations between. The source sums over j; the mean is the same
family of functions, because T's first layer takes up the factor, and does not grow with the number of tokens.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from mpcvit.models.attention.kernel import ScoreKernel
from mpcvit.models.config import ViTConfig
from mpcvit.models.token_flow import Tokens

_WIDTHS = (64, 128)
#: Standard deviation of the last layer's weights, in parts of 1 / M: T begins near 1 / M, a scaling head's factor.
_SPREAD = 0.01


class TheX(ScoreKernel):
    """THE-X heads; the heads of a block share T."""

    def __init__(self, config: ViTConfig, heads: int, tokens: Tokens | None = None) -> None:
        super().__init__(config, heads, tokens)
        first, second = _WIDTHS
        self.layers = nn.Sequential(nn.Linear(1, first), nn.Linear(first, second), nn.Linear(second, self.tokens.count))
        self.initialise()

    def initialise(self) -> None:
        last = cast(nn.Linear, self.layers[-1])
        nn.init.normal_(last.weight, std=_SPREAD / last.out_features)
        nn.init.constant_(last.bias, 1 / last.out_features)

    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        cubes_BHNM = (scores_BHNM / 2 + 1).relu() ** 3
        factors_BHNM = self.layers(cubes_BHNM.mean(dim=-1, keepdim=True))
        output_BHND: torch.Tensor = self.quantize_weights(scores_BHNM * factors_BHNM) @ v_BHMD
        return output_BHND

    def slope_and_intercept(self) -> tuple[torch.Tensor, torch.Tensor]:
        """T as one layer: [M] and [M] so that T(r) = r * slope + intercept."""
        zero = torch.zeros_like(cast(nn.Linear, self.layers[0]).weight[0])
        intercept = self.layers(zero)
        return self.layers(zero + 1) - intercept, intercept
