"""Pixels to what a model reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch


def normalise(images: npt.NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Return uint8 [count, height, width, channels] as float32 [count, channels, height, width], (pixel/255 - mean) /
    std.
    """
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (scaled - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
