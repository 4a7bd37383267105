"""2Quad with learnable scale and shift: (a S + c)^2 V / sum (a S + c)^2.

MPCFormer (ICLR 2023) has a = 1 and c = 5; SAL-ViT (ICCV 2023, L2Q) learns both.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from mpcvit.models.attention.kernel import ScoreKernel
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.token_flow import Tokens

#: Added to the mean weight of a row, so that no choice of a and c brings the denominator near 0.
EPSILON = 2.0**-4
#: MPCFormer's a = 1 and c = 5, both divided by 4: the same attention, from weights around 1.6 instead of 25, which need
#: 4 bits less.
SCALE, SHIFT = 0.25, 1.25


class Quad2(ScoreKernel):
    """2Quad heads; every head has its own scale a and shift c."""

    kind: ClassVar[AttentionKind] = AttentionKind.QUAD2

    def __init__(self, config: ViTConfig, heads: int, tokens: Tokens | None = None) -> None:
        super().__init__(config, heads, tokens)
        self.scale = nn.Parameter(torch.empty(heads))
        self.shift = nn.Parameter(torch.empty(heads))
        self.initialise()

    def initialise(self) -> None:
        nn.init.constant_(self.scale, SCALE)
        nn.init.constant_(self.shift, SHIFT)

    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        shifted_BHNM = self.scale[:, None, None] * scores_BHNM + self.shift[:, None, None]
        weights_BHNM = self.quantize_weights(shifted_BHNM.square())
        total_BHN1 = weights_BHNM.sum(dim=-1, keepdim=True) + EPSILON * v_BHMD.shape[-2]
        output_BHND: torch.Tensor = (weights_BHNM @ v_BHMD) / total_BHN1
        return output_BHND
