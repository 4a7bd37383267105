"""What the pixels of a picture are: how many channels, and how deep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mpcvit.errors import ConfigError

#: Of type uint8 or uint16.
PixelArray = npt.NDArray[np.unsignedinteger[Any]]

_BITS = (8, 16)
_NAMES = {1: "gray", 3: "RGB"}


@dataclass(frozen=True)
class PixelForm:
    """PixelArray of ``channels`` channels: 1 is gray, 3 is RGB, others mean what the model says.

    Attributes:
        channels: from 1.
        bits: of a channel, 8 or 16.

    Raises:
        ConfigError: other numbers.
    """

    channels: int
    bits: int

    def __post_init__(self) -> None:
        if self.channels < 1 or self.bits not in _BITS:
            raise ConfigError(
                f"pixels of {self.channels} channels of {self.bits} bits",
                expected="at least one channel, of 8 or of 16 bits",
                remedy="Correct the model's input.",
            )

    def __str__(self) -> str:
        name = _NAMES.get(self.channels)
        return f"{self.bits}-bit {name}" if name else f"{self.bits}-bit pixels of {self.channels} channels"

    @classmethod
    def of(cls, pixels: PixelArray) -> PixelForm:
        """Return that of [height, width, channels]."""
        return cls(pixels.shape[2], 8 * pixels.dtype.itemsize)

    @property
    def largest(self) -> int:
        """The brightest value of a channel."""
        return (1 << self.bits) - 1

    @property
    def layout(self) -> str:
        """Which arrays hold such pixels, for messages."""
        axes = "[height, width] or [height, width, 1]" if self.channels == 1 else f"[height, width, {self.channels}]"
        return f"uint{self.bits} {axes}"

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Of arrays of such pixels."""
        return np.dtype(f"uint{self.bits}")


RGB8 = PixelForm(3, 8)
"""What most models see."""
