"""Crops, flips and erasing of whole batches, where timm's transforms go picture by picture.

Axes: B batch, C channels, H rows, W columns; A attempts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mpcvit.compat import prepare_torchvision

prepare_torchvision()

from timm.data.random_erasing import RandomErasing  # noqa: E402

_ATTEMPTS = 10  # as torchvision's RandomResizedCrop
_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))


class TensorAugment:
    """The training transform of timm without RandAugment, for one batch at a time.

    Args:
        mean, std: of pixels per channel, as shares of 255.
        crop_scale: smallest share of the picture that a crop keeps.
        erasing: probability that a rectangle of a picture becomes noise.
        device: where the batches are.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], *, crop_scale: float, erasing: float, device: torch.device
    ) -> None:
        self.mean = 255 * torch.tensor(mean, device=device).view(-1, 1, 1)
        self.std = 255 * torch.tensor(std, device=device).view(-1, 1, 1)
        self.crop_scale = crop_scale
        self.erase = RandomErasing(erasing, mode="pixel", device=str(device)) if erasing > 0 else None

    def __call__(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Return normalised float32 pictures of the shape of ``pixels_BCHW``, which is uint8 and square."""
        count, _, size, _ = pixels_BCHW.shape
        images = (pixels_BCHW.float() - self.mean) / self.std
        boxes = crop_boxes(count, size, self.crop_scale, pixels_BCHW.device)
        flips = torch.rand(count, device=pixels_BCHW.device) < 0.5
        images = resized_crops(images, boxes, flips)
        if self.erase is not None:
            images = self.erase(images)
        return images


def crop_boxes(count: int, size: int, smallest: float, device: torch.device) -> torch.Tensor:
    """Return random boxes [B, 4], whole pixels: left, top, width, height, drawn as torchvision's RandomResizedCrop
    draws them.

    Areas are uniform from ``smallest`` to 1 of the picture, aspect ratios log-uniform from 3/4 to 4/3. A box that does
    not fit is drawn again, nine times at most; then the whole picture is taken.
    """
    area_BA = size**2 * (smallest + (1 - smallest) * torch.rand(count, _ATTEMPTS, device=device))
    low, high = _LOG_RATIO
    ratio_BA = (low + (high - low) * torch.rand(count, _ATTEMPTS, device=device)).exp()
    extent_BA2 = torch.stack([(area_BA * ratio_BA).sqrt(), (area_BA / ratio_BA).sqrt()], dim=-1).round()
    fits_BA = (extent_BA2 <= size).all(dim=-1) & (extent_BA2 >= 1).all(dim=-1)
    first_B = fits_BA.int().argmax(dim=1)  # the first that fits
    extent_B2 = extent_BA2[torch.arange(count, device=device), first_B]
    extent_B2 = torch.where(fits_BA.any(dim=1, keepdim=True), extent_B2, float(size))
    corner_B2 = (torch.rand(count, 2, device=device) * (size - extent_B2 + 1)).floor()
    return torch.cat([corner_B2, extent_B2], dim=1)


def resized_crops(images_BCHW: torch.Tensor, boxes_B4: torch.Tensor, flips_B: torch.Tensor) -> torch.Tensor:
    """Return each picture's box, stretched to the whole size (bilinear), and mirrored where ``flips_B``.

    Like PIL, sampling stays inside the box: no pixel beside it shines through.
    """
    size = images_BCHW.shape[-1]
    centres = (torch.arange(size, device=images_BCHW.device) + 0.5) / size
    left, top, width, height = boxes_B4.unsqueeze(-1).unbind(1)  # [B, 1] each
    across = torch.where(flips_B.unsqueeze(1), 1 - centres, centres)
    x_BW = left + (across * width - 0.5).clamp(min=0).minimum(width - 1)
    y_BH = top + (centres * height - 0.5).clamp(min=0).minimum(height - 1)
    grid_BHW2 = torch.stack([x_BW.unsqueeze(1).expand(-1, size, -1), y_BH.unsqueeze(2).expand(-1, -1, size)], dim=-1)
    return torch.nn.functional.grid_sample(
        images_BCHW, (2 * grid_BHW2 + 1) / size - 1, mode="bilinear", padding_mode="border", align_corners=False
    )
