"""Decoded pictures of any mode as 8-bit RGB, or as gray of 8 or 16 bits: transparent parts on white."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mpcvit.errors import InputError

Array = npt.NDArray[Any]

#: Formats whose 16-bit pixels Pillow puts into its 32-bit mode, scaled to all 16 bits.
_SIXTEEN_BITS_IN_32 = {"PNG", "PPM"}
#: Tags of TIFF: bits of a sample, and what its values mean (0: the lowest is white).
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
#: Bits of a sample in files whose samples Pillow stretches or cuts to 8 bits.
_RAW_BITS = {"L;2": 2, "L;4": 4, "RGB;16B": 16}
#: Premultiplied modes, and what Pillow converts them to.
_STRAIGHT = {"La": "LA", "RGBa": "RGBA"}


def transparent_colour(image: Image.Image) -> tuple[int, ...] | None:
    """Return the colour that ``image``, before it is decoded, declares to be transparent, as decoded pixels have it.

    None if it declares none, or has an alpha channel or a palette that says so.
    """
    declared = image.info.get("transparency")
    if image.mode not in ("1", "L", "I", "I;16", "RGB") or not isinstance(declared, int | tuple):
        return None
    colour = declared if isinstance(declared, tuple) else (declared,)
    tile = getattr(image, "tile", None)
    bits = _RAW_BITS.get(str(tile[0][3]), 8) if tile else 8  # Pillow gives the colour in the file's own depth
    return tuple(value * 255 // (2**bits - 1) if bits < 8 else value >> (bits - 8) for value in colour)


def to_rgb(image: Image.Image, name: str, transparent: tuple[int, ...] | None = None) -> Image.Image:
    """Return ``image``, decoded, in mode RGB.

    Samples of 16 bits keep their upper 8; floats from 0 to 1 are scaled. What is transparent lies on white.

    Args:
        name: of the picture, for messages.
        transparent: a colour that is transparent.

    Raises:
        InputError: pixels whose scale nothing tells, or nothing of the picture can be seen.
    """
    rgb = _gray(image, name) if image.mode[0] == "I" or image.mode == "F" else None
    if transparent is not None and len(transparent) == len(image.getbands()):  # later frames become RGBA instead
        values = np.asarray(image.convert("L") if image.mode == "1" else image)
        seen = (values.reshape(image.height, image.width, -1) != transparent).any(-1)
        rgba = (rgb or image).convert("RGB").convert("RGBA")
        rgba.putalpha(Image.fromarray(np.where(seen, np.uint8(255), np.uint8(0))))
        return _on_white(rgba, name)
    if rgb is not None:
        return rgb.convert("RGB")
    if image.has_transparency_data:
        return _on_white(image.convert(_STRAIGHT.get(image.mode, "RGBA")).convert("RGBA"), name)
    return image.convert("RGB")


def _on_white(rgba: Image.Image, name: str) -> Image.Image:
    if rgba.getchannel("A").getextrema() == (0, 0):
        raise InputError(
            f"{name}, which is wholly transparent",
            expected="a picture of which something can be seen",
            remedy="Remove its transparency, if there is a picture under it.",
        )
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def to_gray(image: Image.Image, name: str, transparent: tuple[int, ...] | None = None) -> Image.Image | None:
    """Return ``image``, decoded, as gray in mode L, or I;16 if it is deeper; None if it has colours.

    What is transparent lies on white, in mode L.

    Args:
        name: of the picture, for messages.
        transparent: a gray that is transparent.

    Raises:
        InputError: pixels whose scale nothing tells, or nothing of the picture can be seen.
    """
    deep = image.mode[0] == "I" or image.mode == "F"
    if image.mode in ("1", "L", "LA", "La") or (deep and transparent is not None):
        return to_rgb(image, name, transparent).convert("L")
    return Image.fromarray(deep_gray(image, name)) if deep else None


def _gray(image: Image.Image, name: str) -> Image.Image:
    """Return one channel of more than 8 bits as mode L."""
    if image.mode == "F":
        return Image.fromarray(_from_floats(image, name, np.dtype(np.uint8)))
    return Image.fromarray((deep_gray(image, name) >> 8).astype(np.uint8))


def deep_gray(image: Image.Image, name: str) -> npt.NDArray[np.uint16]:
    """Return one channel of more than 8 bits, scaled to 16.

    Raises:
        InputError: nothing tells the scale.
    """
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    if image.mode == "F":
        return _from_floats(image, name, np.dtype(np.uint16)).astype(np.uint16)
    if image.mode == "I" and image.format not in _SIXTEEN_BITS_IN_32:
        raise InputError(
            f"{name} with integers of 32 bits, or with a sign, as pixels",
            expected="pixels of 8 or 16 bits, or floats from 0 to 1",
            remedy="Scale it to 8 bits first: the file does not say which value is white.",
        )
    bits = tags.get(_BITS, (16,))[0] if image.mode.startswith("I;16") else 16
    values = np.asarray(image).astype(np.uint16)
    gray = (values << np.uint16(16 - bits)) | (
        values >> np.uint16(2 * bits - 16)
    )  # upper bits again below, so that white stays white
    return ~gray if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else gray


def _from_floats(image: Image.Image, name: str, dtype: np.dtype[Any]) -> Array:
    """Return floats from 0 to 1 scaled to all of ``dtype``."""
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    wrong = {"below 0": values < 0, "above 1": values > 1, "NaN": np.isnan(values)}
    found = [what for what, where in wrong.items() if where.any()]
    if found:
        raise InputError(
            f"{name} with floats as pixels, some of them {' or '.join(found)}",
            expected="floats from 0 (black) to 1 (white)",
            remedy="Scale it to that range, or to 8 bits, first: the file does not say which value is white.",
        )
    gray: Array = np.rint(values * np.iinfo(dtype).max).astype(dtype)
    return ~gray if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else gray
