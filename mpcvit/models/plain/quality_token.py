"""A ViT that says how useful a picture of a face is: a token beside the patches becomes one number.

Atzori et al. 2025, "ViT-FIQA: Assessing Face Image Quality using Vision Transformers". *Reconstructed* from the
abstract: the quality token is regressed; patches, flattened, are the face's embedding, which only training needs here.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, Trunk


class QualityToken(nn.Module):
    """The quality [count, 1] of pictures [count, 3, size, size]; for scalars.

    Args:
        size, patch: pixels.
        embedding: numbers in the embedding of a face.
    """

    def __init__(
        self, size: int = 32, patch: int = 8, width: int = 48, depth: int = 2, heads: int = 2, embedding: int = 64
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.trunk = Trunk(size, patch, width, 0, heads)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.Sequential(*(PlainBlock(width, heads) for _ in range(depth)), nn.LayerNorm(width))
        self.quality = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        self.face = nn.Linear(width * self.trunk.side**2, embedding)

    def both(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return quality [count, 1] and embedding [count, embedding]: what training reads."""
        token = self.token.expand(len(pictures), -1, -1)
        x = self.blocks(torch.cat([token, self.trunk.tokens(pictures)], dim=1))
        return self.quality(x[:, 0]), self.face(x[:, 1:].flatten(1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the quality."""
        return self.both(pictures)[0]


def build() -> nn.Module:
    """Return a small one with random weights."""
    return QualityToken()
