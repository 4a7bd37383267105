"""A ViT with a mask decoder: one token a label goes through blocks beside the patches, and masks are their products.

Strudel et al. 2021, "Segmenter", section 3.2.2, as I-Segmenter changes it for integers: no L2 norm of patches and
labels, and nearest upsampling, which the client does (``LabelMap.resized``).
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, Trunk


class MaskDecoder(nn.Module):
    """Logits [count, labels, rows, columns] of pictures [count, 3, size, size], one for each patch; for maps.

    Args:
        size, patch: pixels.
        depth: blocks of the encoder; the decoder has two.
    """

    def __init__(
        self, size: int = 32, patch: int = 4, width: int = 48, depth: int = 2, heads: int = 2, labels: int = 3
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.trunk = Trunk(size, patch, width, depth, heads)
        self.labels = nn.Parameter(0.02 * torch.randn(1, labels, width))
        self.decoder = nn.Sequential(PlainBlock(width, heads), PlainBlock(width, heads), nn.LayerNorm(width))
        self.to_label, self.to_patch = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.scale = width**-0.5

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.trunk(pictures)
        x = self.decoder(torch.cat([x, self.labels.expand(len(x), -1, -1)], dim=1))
        labels = self.to_label(x[:, self.trunk.side**2 :])
        rows = self.scale * labels @ self.to_patch(x[:, : self.trunk.side**2]).mT
        logits: torch.Tensor = rows.unflatten(2, (self.trunk.side, self.trunk.side))
        return logits


def build() -> nn.Module:
    """Return a small one with random weights."""
    return MaskDecoder()
