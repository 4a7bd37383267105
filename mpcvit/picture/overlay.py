"""A picture under the colours of labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

#: Share of the labels' colours in the result.
_OPACITY = 0.5
_BITS = 8


def overlay(pixels: npt.NDArray[np.uint8], classes: npt.NDArray[np.int64]) -> Image.Image:
    """Return the picture [height, width, 3], RGB, with the colour of its label over every pixel.

    Args:
        classes: of every pixel [height, width], at least 0.
    """
    colours = palette(int(classes.max()) + 1)[classes]
    mixed = (1.0 - _OPACITY) * pixels + _OPACITY * colours
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def palette(count: int) -> npt.NDArray[np.uint8]:
    """Return the colours of the first ``count`` labels, [count, 3]: those of Pascal VOC's masks, black first.

    Bit i of the colour's red, green and blue is bit 3 i, 3 i + 1 and 3 i + 2 of the label, the highest bit first.
    """
    labels = np.arange(count)[:, None]
    bits = labels >> np.arange(3 * _BITS)[None, :] & 1
    channels = bits.reshape(count, _BITS, 3)
    weights = 1 << np.arange(_BITS - 1, -1, -1)
    colours: npt.NDArray[np.uint8] = (channels * weights[None, :, None]).sum(1).astype(np.uint8)
    return colours
