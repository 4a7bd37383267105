"""THE-X's softmax substitute (Findings of ACL 2022) as MPCViT re-implemented it: S * T(mean_j ReLU((s_j / 2 + 1)^3)) V.

T is three linear layers, 1 -> 64 -> 128 -> M, without activations between, here of a part of the mean, and their output
divided by M. The source sums over j and divides by nothing. That is the same family of functions, because T's first and
last layer take up the factors; but so the weights of T are of about the size that optimizers expect, where a model
begins at a softmax model's weights and its cubes are in the hundreds.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import nn

from mpcvit.models.attention.kernel import ScoreKernel
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.token_flow import Tokens

_WIDTHS = (64, 128)
#: Standard deviation of the last layer's first weights: T begins near 1 / M, a scaling head's factor.
_SPREAD = 0.01
#: The part of the mean of cubes that T is given.
_PART = 1 / 64


class TheX(ScoreKernel):
    """THE-X heads; the heads of a block share T."""

    kind: ClassVar[AttentionKind] = AttentionKind.THEX

    def __init__(self, config: ViTConfig, heads: int, tokens: Tokens | None = None) -> None:
        super().__init__(config, heads, tokens)
        first, second = _WIDTHS
        self.layers = nn.Sequential(nn.Linear(1, first), nn.Linear(first, second), nn.Linear(second, self.tokens.count))
        self.initialise()

    def initialise(self) -> None:
        last = cast(nn.Linear, self.layers[-1])
        nn.init.normal_(last.weight, std=_SPREAD)
        nn.init.ones_(last.bias)

    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        cubes_BHNM = (scores_BHNM / 2 + 1).relu() ** 3
        factors_BHNM = self._factors(cubes_BHNM.mean(dim=-1, keepdim=True))
        output_BHND: torch.Tensor = self.quantize_weights(scores_BHNM * factors_BHNM) @ v_BHMD
        return output_BHND

    def slope_and_intercept(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return T as one layer: [M] and [M] so that T(r) = r * slope + intercept."""
        zero = torch.zeros_like(cast(nn.Linear, self.layers[0]).weight[0])
        intercept = self._factors(zero)
        return self._factors(zero + 1) - intercept, intercept

    def _factors(self, means: torch.Tensor) -> torch.Tensor:
        """Return T [..., M] of means of cubes [..., 1]."""
        factors: torch.Tensor = self.layers(means * _PART) / self.tokens.count
        return factors
