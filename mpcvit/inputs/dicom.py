"""DICOM files: slices, and series of frames."""

from __future__ import annotations

import io
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from mpcvit.errors import InputError
from mpcvit.inputs.extra import medical
from mpcvit.inputs.limits import check_values
from mpcvit.inputs.planes import Planes

#: Where the magic bytes are.
MAGIC_AT, MAGIC = 128, b"DICM"
#: Transfer syntaxes that unpack to no more than the header says: pixels as they are, and run lengths of them.
_READ = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"}
_META_GROUP, _TRANSFER_SYNTAX = b"\2\0", 0x10
#: Kinds of values with lengths of 32 bits.
_LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT"}
_GRAY, _INVERTED = ("MONOCHROME1", "MONOCHROME2"), "MONOCHROME1"
_COLOURS = ("RGB", "YBR_FULL")
_BITS = (8, 16)


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a DICOM file."""
    return head[MAGIC_AT : MAGIC_AT + len(MAGIC)] == MAGIC


def read_dicom(content: bytes, name: str) -> Planes:
    """Return the frames in ``content``: gray as measured (rescaled, such as Hounsfield units), colours as 8-bit RGB.

    Raises:
        ConfigError: pydicom is not installed.
        InputError: too large, packed in another way than by run lengths, or pixels of a kind that is not read; whatever
            else pydicom raises for damaged files.
    """
    pydicom: Any = medical("pydicom", "DICOM")
    syntax = _transfer_syntax(content)  # pydicom would unpack a whole file to tell it
    if syntax not in _READ:
        raise InputError(
            f"{name}, packed by transfer syntax {syntax}",
            expected="pixels as they are, or packed by run lengths (RLE)",
            remedy="Unpack the file first, such as by dcmdjpeg or gdcmconv --raw.",
        )
    header = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    samples, frames = int(header.SamplesPerPixel), int(header.get("NumberOfFrames") or 1)
    check_values((frames, int(header.Rows), int(header.Columns), samples), name)
    photometric = str(header.PhotometricInterpretation)
    _check_kind(name, samples, photometric, int(header.BitsAllocated))
    file = pydicom.dcmread(io.BytesIO(content))
    shape = (frames, int(header.Rows), int(header.Columns))
    if samples == 3:
        pixels = file.pixel_array.reshape(*shape, samples)
        if photometric != "RGB":
            convert = medical("pydicom.pixels", "DICOM").convert_color_space
            pixels = convert(pixels, photometric, "RGB", per_frame=True)
        return Planes(pixels.astype(np.uint8), order=_order(header), series=_series(header))
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    values: npt.NDArray[Any] = file.pixel_array.reshape(shape).astype(np.float64) * slope + intercept
    return Planes(values, _window(header, slope, intercept), photometric == _INVERTED, _order(header), _series(header))


def _transfer_syntax(content: bytes) -> str:
    """Return how the file is packed, from the elements before its data: explicit VR, little endian (PS3.10, 7.1)."""
    place = MAGIC_AT + len(MAGIC)
    while content[place : place + 2] == _META_GROUP:
        element, kind, length = struct.unpack_from("<H2sH", content, place + 2)
        start = place + 8
        if kind in _LONG:
            (length,) = struct.unpack_from("<I", content, start)
            start += 4
        if element == _TRANSFER_SYNTAX:
            return content[start : start + length].rstrip(b"\0 ").decode("ascii")
        place = start + length
    raise ValueError("no transfer syntax")


def _check_kind(name: str, samples: int, photometric: str, bits: int) -> None:
    gray = samples == 1 and photometric in _GRAY and bits in _BITS
    if not gray and not (samples == 3 and photometric in _COLOURS and bits == 8):
        raise InputError(
            f"{name}, with {samples} sample(s) of {bits} bits as {photometric}",
            expected=f"{' or '.join(_GRAY)} of 8 or 16 bits, or {' or '.join(_COLOURS)} of 8",
            remedy="Convert the file first.",
        )


def _window(header: Any, slope: float, intercept: float) -> tuple[float, float]:
    """Return the first window that the file is to be shown by; or all that its bits can hold."""
    centre, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    if centre is not None and width is not None and width > 0:
        return centre - width / 2, centre + width / 2
    bits = int(header.BitsStored)
    least = -(1 << (bits - 1)) if int(header.get("PixelRepresentation", 0)) else 0
    ends = (least * slope + intercept, (least + (1 << bits) - 1) * slope + intercept)
    return min(ends), max(ends)


def _order(header: Any) -> tuple[float | None, float | None]:
    """Return the slice's distance along the normal of its plane, in mm, and its number."""
    place, axes = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    distance = None
    if place is not None and axes is not None:
        normal = np.cross([float(v) for v in axes[:3]], [float(v) for v in axes[3:6]])
        distance = float(normal @ np.array([float(v) for v in place]))
    return distance if distance is None or math.isfinite(distance) else None, _first(header.get("InstanceNumber"))


def _series(header: Any) -> str:
    return str(header.get("SeriesInstanceUID", ""))


def _first(value: Any) -> float | None:
    """Return a number, or the first of several; None if there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float):
        return float(value)
    return float(value[0]) if len(value) else None
