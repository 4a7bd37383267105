"""What all reductions of tokens have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import nn

from mpcvit.models.kinds import ReductionKind
from mpcvit.models.token_flow import Tokens


class TokenReduction(nn.Module, ABC):
    """What one block does to its tokens. Kinds behind the attention also get its queries and keys.

    Args:
        dim: D.
        before, after: the tokens that come in and go out.

    Attributes:
        own: tokens before the patches, which stay as they are: 1 with a class token, or 0.
    """

    kind: ClassVar[ReductionKind]

    def __init__(self, dim: int, before: Tokens, after: Tokens) -> None:
        super().__init__()
        self.own = before.own

    @abstractmethod
    def forward(self, x_BND: torch.Tensor, *attention: torch.Tensor) -> torch.Tensor:
        """Return the tokens that are left.

        Args:
            attention: queries and keys, [B, H, N, D of a head] each; for kinds behind it.
        """
