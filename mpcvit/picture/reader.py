"""Reading a picture: the one place where pictures are opened and decoded."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from mpcvit.errors import InputError, MpcvitError, ShapeMismatch
from mpcvit.picture.fit import Fit, fitted
from mpcvit.picture.layout import check_pixels
from mpcvit.picture.rgb import to_rgb, transparent_colour

PictureSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | npt.NDArray[np.uint8]

#: Width times height of the largest picture that is decoded: 8192 x 8192. That takes up to 1 GB for a moment.
MAX_PIXELS = 2**26

_TAKEN = "a path, bytes, a binary file object, a PIL image, or a uint8 array [height, width, 3]"
_Transpose = Image.Transpose
#: What makes a picture upright, by its orientation in EXIF.
_UPRIGHT = {
    2: _Transpose.FLIP_LEFT_RIGHT,
    3: _Transpose.ROTATE_180,
    4: _Transpose.FLIP_TOP_BOTTOM,
    5: _Transpose.TRANSPOSE,
    6: _Transpose.ROTATE_270,
    7: _Transpose.TRANSVERSE,
    8: _Transpose.ROTATE_90,
}


@dataclass(frozen=True, repr=False)
class Picture:
    """A picture as it is seen.

    Attributes:
        pixels: uint8 [height, width, 3], RGB.
        notices: what the reader of an answer should know of how the picture was read; sentences.
    """

    pixels: npt.NDArray[np.uint8]
    notices: tuple[str, ...] = ()


def read_picture(source: object, size: tuple[int, int] | None = None, fit: Fit | None = None) -> Picture:
    """Return the picture in ``source``, upright, in 8-bit RGB, on white where it is transparent.

    A picture that is too large, or has another size than asked for, is refused by its header, before it is decoded.

    Args:
        source: a :data:`PictureSource`: a path, an encoded file as bytes or a binary file object, which is read to its
            end, a PIL image, or pixels uint8 [height, width, 3]. Anything else is refused.
        size: (height, width) that the picture must have; None for any.
        fit: what to do if it has another size; None refuses it.

    Raises:
        InputError: no picture, a damaged one, one of more than ``MAX_PIXELS`` pixels, or nothing that is taken.
        ShapeMismatch: another size, or an array of another layout.
    """
    name = _name(source)
    if isinstance(source, np.ndarray):
        pixels = check_pixels(source)
        height, width = pixels.shape[:2]
        _check_size((width, height), name, size, fit)
        return Picture(pixels if fit is None or size is None else np.array(fitted(Image.fromarray(pixels), size)))
    with _decoding(name), _opened(source) as image:
        _check_size(image.size, name, size, fit, turned=True)
        notices = _frames(image, name)
        transparent = transparent_colour(image)
        image.load()
        rgb = to_rgb(image, name, transparent)
        orientation, more = _orientation(image, name)
        upright = rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb
        _check_size(upright.size, name, size, fit)
        if fit is not None and size is not None:
            upright = fitted(upright, size)
        return Picture(np.array(upright), (*notices, *more))


def _name(source: object) -> str:
    """Return what messages call ``source``.

    Raises:
        InputError: nothing that is taken.
    """
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"{memoryview(source).nbytes} bytes"
    if isinstance(source, np.ndarray):
        return "an array"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "a PIL image")
    if callable(getattr(source, "read", None)):
        name = getattr(source, "name", None)
        return name if isinstance(name, str) else "a file object"
    module, kind = type(source).__module__, type(source).__qualname__
    raise InputError(
        f"a picture of type {kind if module == 'builtins' else f'{module}.{kind}'}",
        expected=_TAKEN,
        remedy="Pass one of these; numpy.asarray makes an array of tensors and lists of pixels.",
    )


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Make one typed error of whatever a decoder raises, which is anything, and silence Pillow's warnings.

    What Pillow says is left out, as it may quote the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of large pictures, which the limit here is below
            yield
    except MpcvitError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(f"{name}, of more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from None
    except Exception as error:
        raise InputError(
            f"{type(error).__name__} reading {name}",
            expected="a picture in a common format",
            remedy="Check the path, and convert the picture to JPEG or PNG.",
        ) from None


def _opened(source: Any) -> AbstractContextManager[Image.Image]:
    """Return the picture in ``source``, of which the header is read."""
    if isinstance(source, Image.Image):
        return nullcontext(source)
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    elif not isinstance(source, str | os.PathLike):
        source = io.BytesIO(_content(source))
    return Image.open(source)


def _content(file: BinaryIO) -> bytes:
    content: object = file.read()
    if not isinstance(content, bytes):
        raise InputError(
            f"a file object that gives {type(content).__name__}",
            expected="one that gives bytes",
            remedy="Open the file in binary mode: open(path, 'rb').",
        )
    return content


def _check_size(
    found: tuple[int, int], name: str, size: tuple[int, int] | None, fit: Fit | None, turned: bool = False
) -> None:
    """Refuse a picture of ``found`` (width, height): too large, empty, or of another size with no fit to mend it.

    Args:
        turned: the sides may be exchanged, as the header is all that is known.
    """
    width, height = found
    if width * height > MAX_PIXELS:
        raise _too_large(f"{name}, of {width} x {height} pixels")
    if width * height == 0:
        raise InputError(
            f"{name}, of {width} x {height} pixels", expected="a picture", remedy="Check where it is from."
        )
    if size is None or fit is not None or (height, width) == size or (turned and found == size):
        return
    raise ShapeMismatch(
        f"{name}, of {width} x {height} pixels",
        expected=f"the model's size, {size[1]} x {size[0]} pixels (width x height)",
        remedy="Crop or resize it first, or have it resized and cropped: fit='model', on the command line --fit model.",
    )


def _too_large(got: str) -> InputError:
    return InputError(
        got,
        expected=f"at most {MAX_PIXELS:,} pixels, width times height",
        remedy="Make the picture smaller first.",
    )


def _frames(image: Image.Image, name: str) -> tuple[str, ...]:
    """Return the notice that ``image`` has several frames or pages, if it has."""
    frames = 1 if image.format == "PSD" else getattr(image, "n_frames", 1)  # PSD: layers, of which all are seen
    return (f"{name} has {frames} frames or pages: number {image.tell() + 1} was taken.",) if frames > 1 else ()


def _orientation(image: Image.Image, name: str) -> tuple[int, tuple[str, ...]]:
    """Return the orientation in EXIF, and a notice if its metadata cannot be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1), ()
    except Exception:  # damaged metadata of a good picture; as in a decoder, this is anything
        return 1, (f"{name} has metadata that cannot be read: it was taken as it is stored, not turned.",)
