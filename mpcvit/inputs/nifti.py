"""NIfTI volumes, single files of version 1 or 2, gzipped or not."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.inputs.extra import medical
from mpcvit.inputs.limits import MAX_BYTES, check_values
from mpcvit.inputs.planes import Planes

#: Of gzip.
GZIP_MAGIC = b"\x1f\x8b"
#: Bytes that hold either header.
HEADER_BYTES = 540
_GZIP = 31  # zlib's name of the format
_SIZES = {348: (344, b"n+1\0"), 540: (4, b"n+2\0")}


def is_nifti(head: bytes) -> bool:
    """Whether a file that begins with ``head``, unpacked, is a NIfTI file with its data."""
    for order in "<>":
        place, magic = _SIZES.get(struct.unpack_from(f"{order}i", head.ljust(4, b"\0"))[0], (0, b"-"))
        if head[place : place + 4] == magic:
            return True
    return False


def unpacked(content: bytes, most: int) -> bytes:
    """Return the first ``most`` bytes at most of what a gzip file holds, or of ``content`` if it is none.

    Raises:
        zlib.error: a damaged file.
    """
    if not content.startswith(GZIP_MAGIC):
        return content[:most]
    return zlib.decompressobj(wbits=_GZIP).decompress(content, most)


def read_nifti(content: bytes, name: str) -> Planes:
    """Return the volume in ``content`` as axial slices from the feet to the head, seen from the feet.

    Rows run from front to back and columns from the patient's right to the left, as DICOM's axial slices do, whatever
    order the file has.

    Raises:
        ConfigError: nibabel is not installed.
        InputError: too large; whatever else nibabel raises for damaged files.
        ShapeMismatch: no volume but a series of them.
    """
    nibabel: Any = medical("nibabel", "NIfTI")
    head = unpacked(content, HEADER_BYTES)
    kind = nibabel.Nifti2Header if head[4:8] == _SIZES[540][1] else nibabel.Nifti1Header
    # not checked, as nibabel's checks print what they find; what matters here is in the shape and the data's length
    header = kind(head[: kind.sizeof_hdr], check=False)
    shape = tuple(int(side) for side in header.get_data_shape())
    check_values(shape, name)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise ShapeMismatch(
            f"{name}, of shape {shape}",
            expected="one volume: three axes",
            remedy="Choose one of its volumes first, such as nibabel's image.slicer[..., 0].",
        )
    proxy = medical("nibabel.arrayproxy", "NIfTI").ArrayProxy(io.BytesIO(_whole(content, name)), header)
    orientations: Any = medical("nibabel.orientations", "NIfTI")
    turned = orientations.io_orientation(header.get_best_affine())
    values = orientations.apply_orientation(np.asanyarray(proxy).reshape(shape), turned)
    if values.dtype not in (np.uint8, np.uint16):
        values = values.astype(np.float64)
    return Planes(np.ascontiguousarray(values[::-1, ::-1].transpose(2, 1, 0)))


def _whole(content: bytes, name: str) -> bytes:
    """Return all that a file holds, unpacked."""
    if not content.startswith(GZIP_MAGIC):
        return content
    unpacker = zlib.decompressobj(wbits=_GZIP)
    whole = unpacker.decompress(content, MAX_BYTES)
    if not unpacker.eof:
        too_large = len(whole) == MAX_BYTES
        raise InputError(
            f"{name}, which unpacks to more than a gigabyte" if too_large else f"{name}, which ends too early",
            expected="a whole volume, of less",
            remedy="Make it smaller first." if too_large else "Copy the file again.",
        )
    return whole
