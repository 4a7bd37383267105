"""What a source holds, told by its first bytes: an array, medical planes, or a file for the reader of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mpcvit.errors import InputError
from mpcvit.inputs.dicom import is_dicom, read_dicom
from mpcvit.inputs.limits import MAX_BYTES
from mpcvit.inputs.nifti import GZIP_MAGIC, HEADER_BYTES, is_nifti, read_nifti, unpacked
from mpcvit.inputs.npy import MAGIC as NPY_MAGIC
from mpcvit.inputs.npy import read_npy
from mpcvit.inputs.planes import Planes
from mpcvit.picture.reader import content_of, decoding

Content = npt.NDArray[Any] | Planes | Path | bytes | Image.Image


def open_content(source: object, name: str) -> Content:
    """Return what is in ``source``. Pictures are not opened yet: files that are nothing else come as they are.

    Args:
        source: a path, bytes, a binary file object, an array or a PIL image.

    Raises:
        ConfigError: the library that reads such files is not installed.
        InputError: a damaged file, or one that unpacks to too much.
    """
    if isinstance(source, np.ndarray | Image.Image):
        return source
    with decoding(name, "a file that is whole", "Check the path, and whether the file is damaged."):
        file = Path(os.fsdecode(source)) if isinstance(source, str | os.PathLike) else _bytes(source)
        read = _reader(_head(file))
        return file if read is None else read(file if isinstance(file, bytes) else _whole(file, name), name)


def _bytes(source: Any) -> bytes:
    return bytes(source) if isinstance(source, bytes | bytearray | memoryview) else content_of(source)


def _head(file: Path | bytes) -> bytes:
    if isinstance(file, bytes):
        return file[:HEADER_BYTES]
    with file.open("rb") as opened:
        return opened.read(HEADER_BYTES)


def _whole(file: Path, name: str) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InputError(f"{name}, of more than a gigabyte", expected="less", remedy="Make it smaller first.")
    return content


def _reader(head: bytes) -> Callable[[bytes, str], Content] | None:
    """Return what reads a file that begins with ``head``; None if that is the reader of pictures."""
    if head.startswith(NPY_MAGIC):
        return read_npy
    if is_dicom(head):
        return read_dicom
    nifti = is_nifti(unpacked(head, HEADER_BYTES) if head.startswith(GZIP_MAGIC) else head)
    return read_nifti if nifti else None
