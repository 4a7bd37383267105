"""Whether pictures can go into a model."""

from __future__ import annotations

import torch

from mpcvit.errors import InputError


def check_images(images: torch.Tensor, expected: tuple[int, int, int]) -> None:
    """Raise InputError unless ``images`` is a batch of at least one picture [channels, height, width] as expected."""
    if images.ndim != 4 or tuple(images.shape[1:]) != expected or len(images) == 0:
        raise InputError(
            f"calibration data of shape {tuple(images.shape)}",
            expected=f"[count, {', '.join(map(str, expected))}] with count >= 1",
            remedy="Resize the calibration pictures to the model's input size.",
        )
