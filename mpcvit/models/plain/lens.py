"""Another modality through a ViT that was trained on pictures: learnt queries make its tokens of whatever there is.

Lei et al. 2024, "ViT-Lens: Towards Omni-modal Representations": a lens of latent queries with cross-attention maps a
modality to a fixed number of tokens, which blocks of a frozen ViT read. *Reconstructed* for volumes, which are boxes of
voxels; clouds of points have no input type here.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputKind, InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, patches


class Lens(nn.Module):
    """Logits [count, classes], or an embedding, of volumes [count, slices, size, size].

    Args:
        slices: a multiple of ``thickness``.
        thickness: slices of a box.
        size, patch: pixels.
        latents: tokens that the ViT reads.
        depth: blocks of the ViT.
    """

    def __init__(
        self,
        slices: int = 8,
        thickness: int = 4,
        size: int = 32,
        patch: int = 8,
        width: int = 48,
        depth: int = 2,
        heads: int = 2,
        latents: int = 8,
        classes: int = 3,
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(kind=InputKind.VOLUME, shape=(slices, size, size))
        self.mean, self.std, self.patch, self.thickness = (MEAN,), (STD,), patch, thickness
        self.embed = nn.Linear(thickness * patch**2, width)
        self.places = nn.Parameter(0.02 * torch.randn(slices // thickness * (size // patch) ** 2, width))
        self.latents, self.heads = nn.Parameter(torch.randn(latents, width)), heads
        self.lens_norm, self.values, self.proj = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        #: For each latent and head: its query times the key's matrix, which are one matrix once the lens is trained.
        self.scores = nn.Linear(width, heads * latents)
        self.vit = nn.Sequential(*(PlainBlock(width, heads) for _ in range(depth)), nn.LayerNorm(width))
        self.head = nn.Linear(width, classes)

    def freeze(self) -> None:
        """Leave the ViT as it was trained: lens and head alone learn."""
        self.vit.requires_grad_(False)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        slabs = patches(volumes.unflatten(1, (-1, self.thickness)), self.patch)
        x = self.embed(slabs.flatten(1, 2)) + self.places
        y = self.lens_norm(x)
        weights = self.scores(y).unflatten(-1, (self.heads, -1)).movedim(1, -1).softmax(-1)
        read = weights @ self.values(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        x = self.latents + self.proj(read.transpose(1, 2).flatten(2))
        logits: torch.Tensor = self.head(self.vit(x).mean(1))
        return logits


def build() -> nn.Module:
    """Return a small one with random weights."""
    return Lens()
