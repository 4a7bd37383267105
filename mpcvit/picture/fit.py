"""How a picture of another size becomes one of the model's."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from PIL import Image, ImageOps

from mpcvit.errors import InputError
from mpcvit.picture.form import PixelArray


class Fit(StrEnum):
    """What is done to pictures of another size than the model's, where the caller asks for something.

    ``MODEL``: the largest rectangle of the model's shape in the middle of the picture, resized to the model's size by
    antialiased bicubic interpolation. That is to resize the shorter side and crop the centre, in one step. Colours and
    depth become the model's, too (:mod:`mpcvit.picture.conform`); of longer clips and volumes, frames at even distances
    are taken.
    """

    MODEL = "model"

    @classmethod
    def parse(cls, text: str | None) -> Fit | None:
        """Return what ``text`` names; None and an empty text name nothing.

        Raises:
            InputError: there is no such way to fit.
        """
        if not text:
            return None
        if text not in set(cls):
            raise InputError(
                f"fit '{text}'",
                expected=f"{' or '.join(cls)}, or nothing for pictures that have the model's size",
                remedy="Correct the name.",
            )
        return cls(text)


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return ``image``, RGB, as :attr:`Fit.MODEL` says; unchanged if it has the size.

    Args:
        size: (height, width) in pixels.
    """
    height, width = size
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


def fitted_pixels(pixels: PixelArray, size: tuple[int, int]) -> PixelArray:
    """Return ``pixels`` [height, width, channels] of any form as :func:`fitted` does; unchanged if they have the size.

    Args:
        size: (height, width) in pixels.
    """
    if pixels.shape[:2] == size:
        return pixels
    if pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        return np.array(fitted(Image.fromarray(pixels), size))
    planes = [
        np.asarray(fitted(Image.fromarray(plane), size)) for plane in np.moveaxis(pixels, 2, 0).astype(np.float32)
    ]
    resized: PixelArray = np.rint(np.stack(planes, axis=2)).clip(0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    return resized
