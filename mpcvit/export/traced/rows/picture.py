"""The picture as the model reads it: pixels that are not normalised yet."""

from __future__ import annotations

import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalisation import Normalisation
from mpcvit.export.traced.rows.pending import Pending

#: Fractional bits of a normalised pixel before it is rounded, beyond those of the pixel.
_FRAC = 12


class NormalisedPicture(Pending):
    """pixels * gain + offset per channel, not computed: the first layer does it, if it can.

    Attributes:
        pixels: [1, ..., channels, height, width], whole numbers.
        gain, offset: [channels].
        frac: fractional bits that keep the gain of such small steps.
    """

    def __init__(self, name: str, pixels: Value, normalisation: Normalisation) -> None:
        self.name, self.pixels = name, pixels
        self.frac = _FRAC + normalisation.bits
        channels = pixels.type.shape[-3]
        self.gain, self.offset = (part.expand(channels).clone() for part in (normalisation.gain, normalisation.offset))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.type.shape

    @property
    def black(self) -> torch.Tensor:
        """What the model reads of a black picture, float64 [1, ..., channels, height, width]."""
        return self.offset[:, None, None].expand(self.shape).clone()

    def computed(self, b: Builder) -> Value:
        channels = []
        for number, (gain, offset) in enumerate(zip(self.gain.tolist(), self.offset.tolist(), strict=True)):
            plane = b.slice(f"{self.name}.channel{number}", self.pixels, -3, number, number + 1)
            scaled = b.scale(f"{self.name}.scaled{number}", plane, gain, self.frac)
            channels.append(b.offset(f"{self.name}.offset{number}", scaled, offset))
        return b.rescale(self.name, b.concat(f"{self.name}.joined", channels, -3))
