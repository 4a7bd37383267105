"""Arrays that are pictures, and what to do with those that are nearly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.picture.conform import conform
from mpcvit.picture.fit import Fit
from mpcvit.picture.form import RGB8, PixelArray, PixelForm

_RGB = 3
#: More of them are an axis of another meaning.
_MOST_CHANNELS = 1024
#: Shapes that people have, by axes: what such an array looks like, and what makes [height, width, 3] of it.
_BY_LAST = {
    1: ("gray pixels [height, width, 1]", "np.repeat(picture, 3, axis=2)"),
    2: ("gray and alpha [height, width, 2]", "PIL.Image.fromarray(picture), whose alpha is put on white"),
    4: ("RGBA pixels [height, width, 4]", "PIL.Image.fromarray(picture), whose alpha is put on white"),
}
_BY_FIRST = {
    1: ("gray pixels [1, height, width]", "np.stack([picture[0]] * 3, axis=-1)"),
    3: ("RGB pixels [3, height, width]", "picture.transpose(1, 2, 0)"),
    4: (
        "RGBA pixels [4, height, width]",
        "PIL.Image.fromarray(picture.transpose(1, 2, 0)), whose alpha is put on white",
    ),
}


def check_pixels(array: npt.NDArray[Any], form: PixelForm, name: str, fit: Fit | None) -> PixelArray:
    """Return ``array`` as pixels of ``form``, [height, width, channels].

    8-bit RGB must be just that. Others may be converted, see :func:`~mpcvit.picture.conform.conform`, and gray pixels
    may come without their axis of channels.

    Raises:
        InputError: another type of values.
        ShapeMismatch: another layout.
    """
    if form == RGB8:
        return _check_rgb(array)
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"an array of {array.dtype}",
            expected=form.layout,
            remedy="Convert the pixels to that type. Floats that are normalised already are read with normalised=True.",
        )
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.shape[2] > _MOST_CHANNELS:
        raise ShapeMismatch(
            f"an array of shape {array.shape}",
            expected=f"the layout {form.layout}",
            remedy="Pass one picture, with the channels last: picture.transpose(1, 2, 0) puts them there.",
        )
    return conform(pixels, form, name, fit)


def _check_rgb(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return ``array`` if it is uint8 [height, width, 3].

    Raises:
        InputError: another type of values.
        ShapeMismatch: another layout; the message says which it looks like, and how to convert it.
    """
    if np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"an array of {array.dtype}",
            expected="8-bit pixels: uint8 [height, width, 3]",
            remedy="Give the pixels from 0 to 255 as uint8. If these floats are [3, height, width] and normalised "
            "already as the model's manifest says, pass normalised=True.",
        )
    if array.dtype != np.uint8:
        raise InputError(
            f"an array of {array.dtype}",
            expected="8-bit pixels: uint8 [height, width, 3]",
            remedy="Convert the picture to 8-bit RGB, from 0 to 255.",
        )
    if array.ndim == 3 and array.shape[2] == _RGB:
        return array
    looks, convert = _looks(array.shape)
    raise ShapeMismatch(
        f"an array of shape {array.shape}, which looks like {looks}",
        expected="the layout uint8 [height, width, 3], RGB",
        remedy=f"Pass {convert}.",
    )


def _looks(shape: tuple[int, ...]) -> tuple[str, str]:
    """Return what an array of ``shape`` looks like, and what to pass instead."""
    if len(shape) == 2:
        return "gray pixels [height, width]", "np.stack([picture] * 3, axis=-1)"
    if len(shape) == 3:
        # the axis of channels is the shortest one
        by_last = _BY_LAST.get(shape[2]) if shape[2] <= shape[0] else None
        return by_last or _BY_FIRST.get(shape[0]) or _BY_LAST.get(shape[2]) or ("no picture", "8-bit RGB pixels")
    if len(shape) == 4:
        return f"a batch of {shape[0]}", "one picture at a time, such as picture[0]"
    return "no picture", "8-bit RGB pixels"
