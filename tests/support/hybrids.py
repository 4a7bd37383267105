"""A small hybrid of convolutions and a transformer's MLP, in tests of what passes make of any module."""

from __future__ import annotations

import torch
from torch import nn

from tests.support.traced import enlivened

SIZE, WIDTH, CLASSES = 8, 8, 5


class Hybrid(nn.Module):
    """A stem with batch norm, a convolution per channel, an MLP behind a norm, and a head."""

    image_size, mean, std = SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.local = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.last_norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits [count, CLASSES]."""
        x = self.local(self.stem(pictures)).flatten(2).transpose(1, 2)
        x = x + self.fc2(nn.functional.gelu(self.fc1(self.norm(x))))
        logits: torch.Tensor = self.head(self.last_norm(x).mean(1))
        return logits


def hybrid() -> Hybrid:
    """The module with lively weights, in eval mode."""
    return enlivened(Hybrid())  # type: ignore[return-value]
