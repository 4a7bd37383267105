"""Between the pixels that a Program reads and the normalised values that its model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.errors import InputError
from mpcvit.models.random_weights import NOISE_MEAN, NOISE_STD
from mpcvit.ring.qtype import QType, pixel_type

#: Less than half a step of pixels is noise of float32, more is another picture or another normalisation.
_SLACK = 0.5


@dataclass(frozen=True)
class Normalisation:
    """value = (pixel / largest - mean) / std.

    Attributes:
        mean, std: one number per channel, or one for all.
        bits: of a pixel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bits: int = 8

    @property
    def pixel(self) -> QType:
        """The type of a pixel."""
        return pixel_type(self.bits)

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Return normalised [..., channels, height, width] as the nearest pixels, float64 integers.

        Raises:
            InputError: a value lies outside of what pixels give.
        """
        exact = (images.double() * self._columns(self.std) + self._columns(self.mean)) * self.pixel.hi
        outside = (exact < self.pixel.lo - _SLACK) | (exact > self.pixel.hi + _SLACK)
        if outside.any():
            raise InputError(
                f"{int(outside.sum())} of {exact.numel()} values that no {self.bits}-bit pixel gives",
                expected=f"pictures normalised with mean {self.mean} and std {self.std}",
                remedy="Pass the mean and std by which the pictures were normalised.",
            )
        return exact.round().clamp(self.pixel.lo, self.pixel.hi)

    def floats(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what a model reads of ``pixels`` [..., channels, height, width], float64."""
        return pixels.double() * self.gain[:, None, None] + self.offset[:, None, None]

    @property
    def gain(self) -> torch.Tensor:
        """float64 [channels or 1]: value = pixel * gain + offset."""
        return 1 / (self.pixel.hi * torch.tensor(self.std, dtype=torch.float64))

    @property
    def offset(self) -> torch.Tensor:
        """float64 [channels or 1]: the value of a black pixel."""
        return -torch.tensor(self.mean, dtype=torch.float64) / torch.tensor(self.std, dtype=torch.float64)

    @staticmethod
    def _columns(values: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)[:, None, None]


NOISE = Normalisation((NOISE_MEAN,), (NOISE_STD,))
"""Of pictures that belong to no data set."""
