"""A ViT for volumes: tokens are boxes of voxels, and several blocks' tokens are read together.

Tang et al. 2025, "Hi-End-MAE: Hierarchical Encoder-driven Masked Autoencoders": downstream networks read features of
several depths of a ViT with 3D patches. *Reconstructed*: taps are joined by a linear layer; their decoder for
segmentation, and pre-training, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mpcvit.inputs import InputKind, InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, patches


class VolumePatches(nn.Module):
    """Logits [count, classes], or an embedding, of volumes [count, slices, size, size].

    Args:
        slices: a multiple of ``thickness``.
        thickness: slices of a box.
        size, patch: pixels.
        taps: blocks whose tokens are read, from 0.
        bits: of a voxel.
        window: measured values that are black and white, such as Hounsfield units; None for pixels.
    """

    def __init__(
        self,
        slices: int = 8,
        thickness: int = 4,
        size: int = 32,
        patch: int = 8,
        width: int = 48,
        heads: int = 2,
        classes: int = 3,
        taps: Sequence[int] = (0, 1),
        bits: int = 8,
        window: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        shape = (slices, size, size)
        self.input_spec = InputSpec(kind=InputKind.VOLUME, shape=shape, bits=bits, window=window)
        self.mean, self.std, self.patch, self.thickness = (MEAN,), (STD,), patch, thickness
        self.embed = nn.Linear(thickness * patch**2, width)
        self.places = nn.Parameter(0.02 * torch.randn(slices // thickness * (size // patch) ** 2, width))
        self.taps = tuple(taps)
        self.blocks = nn.ModuleList(PlainBlock(width, heads) for _ in range(max(taps) + 1))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in taps)
        self.head = nn.Linear(width * len(self.taps), classes)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        slabs = patches(volumes.unflatten(1, (-1, self.thickness)), self.patch)  # slices of a box are channels
        x, read = self.embed(slabs.flatten(1, 2)) + self.places, []
        norms = dict(zip(self.taps, self.norms, strict=True))
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in norms:
                read.append(norms[number](x).mean(1))
        logits: torch.Tensor = self.head(torch.cat(read, dim=-1))
        return logits


def build() -> nn.Module:
    """Return a small one with random weights."""
    return VolumePatches()
