"""A ViT with a token for every joint of a body, which becomes the joint's place.

Kinfu and Vidal 2023, "Efficient Vision Transformer for Human Pose Estimation via Patch Selection" (EViTPose), learnable
joint tokens. Their selection of patches is left out here: :mod:`mpcvit.models.reduction` has it for the ViT.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, Trunk


class PoseTokens(nn.Module):
    """Places [count, joints * 2] in pictures [count, 3, size, size]: x and y of each joint, in [0, 1]; for vectors.

    Args:
        size, patch: pixels.
    """

    def __init__(
        self, size: int = 32, patch: int = 8, width: int = 48, depth: int = 2, heads: int = 2, joints: int = 5
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(shape=(3, size, size))
        self.mean, self.std = (MEAN,) * 3, (STD,) * 3
        self.trunk = Trunk(size, patch, width, 0, heads)
        self.joints = nn.Parameter(0.02 * torch.randn(1, joints, width))
        self.blocks = nn.Sequential(*(PlainBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 2)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the places."""
        joints = self.joints.expand(len(pictures), -1, -1)
        x = self.blocks(torch.cat([joints, self.trunk.tokens(pictures)], dim=1))
        places: torch.Tensor = 0.5 + self.head(self.norm(x[:, : joints.shape[1]]))
        return places.flatten(1)


def build() -> nn.Module:
    """Return a small one with random weights."""
    return PoseTokens()
