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
from mpcvit.picture.conform import conform
from mpcvit.picture.fit import Fit, fitted_pixels
from mpcvit.picture.form import RGB8, PixelArray, PixelForm
from mpcvit.picture.layout import check_pixels
from mpcvit.picture.rgb import to_gray, to_rgb, transparent_colour

PictureSource = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | Image.Image
    | npt.NDArray[np.uint8]
    | npt.NDArray[np.uint16]
)

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
        pixels: [height, width, channels], uint8, or uint16 for models that read 16 bits.
        notices: what the reader of an answer should know of how the picture was read; sentences.
    """

    pixels: PixelArray
    notices: tuple[str, ...] = ()


def read_picture(
    source: object, size: tuple[int, int] | None = None, fit: Fit | None = None, form: PixelForm = RGB8
) -> Picture:
    """Return the picture in ``source``, upright, on white where it is transparent.

    A picture that is too large, or has another size than asked for, is refused by its header, before it is decoded.

    Args:
        source: a :data:`PictureSource`: a path, an encoded file as bytes or a binary file object, which is read to its
            end, a PIL image, or pixels [height, width, channels]. Anything else is refused.
        size: (height, width) that the picture must have; None for any.
        fit: what to do if it has another size, or another form than one that is not 8-bit RGB; None refuses it.
        form: of the pixels. As 8-bit RGB every picture can be seen.

    Raises:
        InputError: no picture, a damaged one, one of more than ``MAX_PIXELS`` pixels, or nothing that is taken.
        ShapeMismatch: another size or other channels, or an array of another layout.
    """
    name = source_name(source)
    if isinstance(source, np.ndarray):
        return Picture(sized(check_pixels(source, form, name, fit), name, size, fit))
    with decoding(name), opened(source) as image:
        check_size(image.size, name, size, fit, turned=True)
        notices = _frames(image, name)
        picture = decoded(image, name, size, fit, form)
        return Picture(picture.pixels, (*notices, *picture.notices))


def decoded(image: Image.Image, name: str, size: tuple[int, int] | None, fit: Fit | None, form: PixelForm) -> Picture:
    """Return the frame that ``image`` shows, see :func:`read_picture`; within :func:`decoding`."""
    transparent = transparent_colour(image)
    image.load()
    gray = None if form == RGB8 else to_gray(image, name, transparent)
    seen = gray or to_rgb(image, name, transparent)
    orientation, notices = _orientation(image, name)
    upright = seen.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else seen
    pixels = np.array(upright).reshape(upright.height, upright.width, -1)
    return Picture(sized(conform(pixels, form, name, fit), name, size, fit), notices)


def sized(pixels: PixelArray, name: str, size: tuple[int, int] | None, fit: Fit | None) -> PixelArray:
    """Return ``pixels`` [height, width, channels] once they have ``size``.

    Raises:
        InputError, ShapeMismatch: as :func:`check_size`.
    """
    height, width = pixels.shape[:2]
    check_size((width, height), name, size, fit)
    return pixels if fit is None or size is None else fitted_pixels(pixels, size)


def source_name(source: object) -> str:
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
def decoding(
    name: str,
    expected: str = "a picture in a common format",
    remedy: str = "Check the path, and convert the picture to JPEG or PNG.",
) -> Iterator[None]:
    """Make one typed error of whatever a decoder raises, which is anything, and silence decoders' warnings.

    What a decoder says is left out, as it may quote the file.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's, of large pictures, which the limit here is below; others', of what files hold beside pixels
            warnings.filterwarnings("ignore", module=r"(PIL|pydicom|nibabel)\.")
            yield
    except MpcvitError:
        raise
    except Image.DecompressionBombError:
        raise too_large(f"{name}, of more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from None
    except Exception as error:
        raise InputError(
            f"{type(error).__name__} reading {name}",
            expected=expected,
            remedy=remedy,
        ) from None


def opened(source: Any) -> AbstractContextManager[Image.Image]:
    """Return the picture in ``source``, of which the header is read."""
    if isinstance(source, Image.Image):
        return nullcontext(source)
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    elif not isinstance(source, str | os.PathLike):
        source = io.BytesIO(content_of(source))
    return Image.open(source)


def content_of(file: BinaryIO) -> bytes:
    """Return what a file object gives, read to its end.

    Raises:
        InputError: text.
    """
    content: object = file.read()
    if not isinstance(content, bytes):
        raise InputError(
            f"a file object that gives {type(content).__name__}",
            expected="one that gives bytes",
            remedy="Open the file in binary mode: open(path, 'rb').",
        )
    return content


def check_size(
    found: tuple[int, int], name: str, size: tuple[int, int] | None, fit: Fit | None, turned: bool = False
) -> None:
    """Refuse a picture of ``found`` (width, height): too large, empty, or of another size with no fit to mend it.

    Args:
        turned: the sides may be exchanged, as the header is all that is known.

    Raises:
        InputError: it is too large, or empty.
        ShapeMismatch: it has another size.
    """
    width, height = found
    if width * height > MAX_PIXELS:
        raise too_large(f"{name}, of {width} x {height} pixels")
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


def too_large(got: str) -> InputError:
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
