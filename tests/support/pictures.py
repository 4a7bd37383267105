"""Picture files made by hand, for tests."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

#: Four colours in the corners of 24 x 16 pixels: no turn and no reflection leaves it as it is.
CORNERS = np.zeros((16, 24, 3), np.uint8)
CORNERS[:8, :12], CORNERS[:8, 12:] = (250, 10, 10), (10, 250, 10)
CORNERS[8:, :12], CORNERS[8:, 12:] = (10, 10, 250), (240, 240, 30)
MIDDLES = ([4, 4, 12, 12], [6, 18, 6, 18])

Transpose = Image.Transpose


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file of ``kind``; skips the test where Pillow cannot write it."""
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file from its raw rows, each of which begins with a filter byte."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
