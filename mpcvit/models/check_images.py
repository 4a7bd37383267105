"""Whether pictures can go into a model."""

from __future__ import annotations

import torch

from mpcvit.errors import InputError


def check_images(images: torch.Tensor, expected: tuple[int, ...]) -> None:
    """Raise InputError unless ``images`` is a batch of at least one input as expected, [channels, height, width] say.

    They are float32, and finite.
    """
    if images.ndim == 0 or tuple(images.shape[1:]) != expected or len(images) == 0:
        raise InputError(
            f"pictures of shape {tuple(images.shape)}",
            expected=f"[count, {', '.join(map(str, expected))}] with count >= 1",
            remedy="Resize the pictures to the model's input size.",
        )
    if images.dtype != torch.float32 or not bool(images.isfinite().all()):
        raise InputError(
            f"pictures of type {images.dtype}" if images.dtype != torch.float32 else "pictures that are not finite",
            expected="finite float32 values",
            remedy="Normalise the pictures as for the model's training (mpcvit.data.normalise).",
        )
