"""Pictures as ring codes, the way a model's manifest asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.ring.fixed_point import Codes, encode
from mpcvit.wire.manifest import Manifest

Picture = str | Path | Image.Image | npt.NDArray[np.uint8] | npt.NDArray[np.floating]


def encode_picture(picture: Picture, manifest: Manifest) -> Codes:
    """The codes [channels, height, width] of ``picture``.

    Args:
        picture: a file, a PIL image, uint8 RGB [height, width, 3], or floats that are normalised already
            [3, height, width]. Of the model's size: nothing is resized silently.

    Raises:
        InputError: the file cannot be decoded, or a value is NaN, infinite or out of range.
        ShapeMismatch: the picture has another size than the model's input.
    """
    channels, height, width = manifest.input_shape
    if isinstance(picture, str | Path):
        picture = open_picture(Path(picture))
    if isinstance(picture, Image.Image):
        picture = np.asarray(picture.convert("RGB"))
    if np.issubdtype(picture.dtype, np.floating):
        _check(picture.shape, (channels, height, width), "normalised floats [channels, height, width]")
        return encode(picture, manifest.input_type)
    if picture.dtype != np.uint8:
        raise InputError(
            f"an array of {picture.dtype}", expected="uint8 or float", remedy="Convert the picture to 8-bit RGB."
        )
    _check(picture.shape, (height, width, channels), "pixels [height, width, channels]")
    scaled = (picture / 255.0 - np.asarray(manifest.mean)) / np.asarray(manifest.std)
    return encode(scaled.transpose(2, 0, 1), manifest.input_type)


def open_picture(path: Path) -> Image.Image:
    """The decoded picture in ``path``.

    Raises:
        InputError: it is missing or not a picture.
    """
    try:
        image = Image.open(path)
        image.load()
        return image
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{type(error).__name__} reading {path}",
            expected="a picture in a common format",
            remedy="Check the path, and convert the picture to JPEG or PNG.",
        ) from error


def _check(got: tuple[int, ...], expected: tuple[int, ...], meaning: str) -> None:
    if got != expected:
        raise ShapeMismatch(
            f"a picture of shape {got}",
            expected=f"{meaning} of shape {expected}",
            remedy="Crop or resize the picture to the size of the model first.",
        )
