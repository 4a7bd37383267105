"""A ViT for clips: a token is a patch through several frames.

Wang et al. 2023, "VideoMAE V2: Scaling Video Masked Autoencoders with Dual Masking": joint space-time attention over
tubelets of two frames, and the mean of all tokens. :func:`dual_mask` is what pre-training hides from the encoder and
from the decoder.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.inputs import InputKind, InputSpec
from mpcvit.models.plain.blocks import MEAN, STD, PlainBlock, patches


class Tubelets(nn.Module):
    """Logits [count, classes] of clips [count, frames, 3, size, size].

    Args:
        frames: a multiple of ``length``.
        length: frames of a tubelet.
        size, patch: pixels.
    """

    def __init__(
        self,
        frames: int = 4,
        length: int = 2,
        size: int = 32,
        patch: int = 8,
        width: int = 48,
        depth: int = 2,
        heads: int = 2,
        classes: int = 3,
    ) -> None:
        super().__init__()
        self.input_spec = InputSpec(kind=InputKind.CLIP, shape=(frames, 3, size, size))
        self.mean, self.std, self.patch, self.length = (MEAN,) * 3, (STD,) * 3, patch, length
        self.embed = nn.Linear(length * 3 * patch**2, width)
        self.places = nn.Parameter(0.02 * torch.randn(frames // length * (size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(PlainBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        tubes = clips.unflatten(1, (-1, self.length)).flatten(2, 3)  # frames of a tube are channels
        x = self.embed(patches(tubes, self.patch).flatten(1, 2)) + self.places
        logits: torch.Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return logits


def dual_mask(times: int, places: int, hidden: float = 0.75, decoded: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which tokens the encoder sees, and which of the others the decoder rebuilds; bool [times, places].

    The encoder's mask is a tube: the same places at all times. The decoder's runs: its places move on with time.

    Args:
        hidden: share of places that the encoder does not see.
        decoded: share of all tokens that the decoder looks at.
    """
    seen = torch.zeros(places, dtype=torch.bool)
    seen[torch.randperm(places)[: places - round(hidden * places)]] = True
    stride = max(round(1 / decoded), 1)
    running = (torch.arange(places)[None] + torch.arange(times)[:, None]) % stride == 0
    return seen.expand(times, -1), running & ~seen


def build() -> nn.Module:
    """Return a small one with random weights."""
    return Tubelets()
