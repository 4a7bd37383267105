"""A large picture as an overview and slices, each seen by the same ViT, with fewer tokens towards the end.

LLaVA-UHD v3, "Progressive Visual Compression for Efficient Native-Resolution Encoding" and its encoder ViT-UHD: patches
of flexible size, and windows of tokens that are pooled inside the ViT. *Reconstructed*; the language model is out of
scope, the vector is what it would read.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import interpolate

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, patches


class Slices(nn.Module):
    """An embedding [count, numbers] of pictures [count, 3, size, size]; for vectors.

    Args:
        size: pixels.
        slices: along each side.
        patch: pixels, in a slice and in the overview, which is as large as a slice.
        numbers: of the embedding.
    """

    def __init__(
        self,
        size: int = 64,
        slices: int = 2,
        patch: int = 8,
        width: int = 48,
        heads: int = 2,
        numbers: int = 16,
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std, self.patch = (MEAN,) * 3, (STD,) * 3, patch
        self.slices, self.side = slices, size // slices // patch
        self.embed = nn.Linear(3 * patch**2, width)
        self.places = nn.Parameter(0.02 * torch.randn(self.side**2, width))
        self.parts = nn.Parameter(0.02 * torch.randn(slices**2 + 1, 1, width))
        self.before, self.merge, self.behind = (
            PlainBlock(width, heads),
            nn.Linear(4 * width, width),
            PlainBlock(width, heads),
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, numbers)

    def views(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the rows of patches of the overview, then of the slices row by row: [count, parts, patches, ..]."""
        tall = pictures.unflatten(3, (self.slices, -1)).unflatten(2, (self.slices, -1))
        slices = tall.movedim((2, 4), (1, 2)).flatten(1, 2)
        overview = nn.functional.avg_pool2d(pictures, self.slices)
        return patches(torch.cat([overview[:, None], slices], dim=1), self.patch)

    def resize_patches(self, patch: int) -> None:
        """Read patches of another size from now on, in pictures that are larger by as much: resample the embedding.

        Beyer et al. 2023, "FlexiViT", use the pseudo-inverse; here weights are interpolated and keep their sum.
        """
        weight = self.embed.weight.data.unflatten(1, (3, self.patch, self.patch))
        scaled = interpolate(weight, (patch, patch), mode="bilinear", antialias=True) * (self.patch / patch) ** 2
        bias, self.embed = self.embed.bias, nn.Linear(3 * patch**2, len(weight))
        self.embed.weight.data, self.embed.bias = scaled.flatten(1), bias
        size = self.input_spec.shape[-1] * patch // self.patch
        self.patch, self.input_spec = patch, InputSpec(shape=(3, size, size))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the embedding."""
        x = self.before(self.embed(self.views(pictures)) + self.places + self.parts)
        windows = x.unflatten(2, (self.side // 2, 2, self.side // 2, 2)).transpose(3, 4)
        x = self.merge(windows.flatten(4).flatten(2, 3))
        x = self.behind(x.flatten(1, 2))
        embedding: torch.Tensor = self.head(self.norm(x).mean(1))
        return embedding


def build() -> nn.Module:
    """Return a small one with random weights."""
    return Slices()
