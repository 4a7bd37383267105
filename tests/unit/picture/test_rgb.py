"""Whatever colours a picture is stored in, it is read as RGB, on white."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, TiffImagePlugin

from mpcvit.errors import InputError
from mpcvit.picture import read_picture
from tests.support.pictures import CORNERS, MIDDLES, encoded, png

GRAY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def pixels_of(image: Image.Image, kind: str = "PNG", **options: Any) -> npt.NDArray[np.uint8]:
    return read_picture(encoded(image, kind, **options)).pixels


def tiff(values: npt.NDArray[Any], bits: int, meaning: int = 1) -> bytes:
    """A little-endian TIFF file of one strip of unsigned samples; ``meaning`` 0: white is zero."""
    content = values.tobytes()
    height = len(values)
    width = values.shape[1] if bits != 12 else values.shape[1] * 8 // 12
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, meaning), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, len(content))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(content))
    return head + content + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "La", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_modes_become_rgb(mode: str) -> None:
    """Opaque pictures of any mode keep their colours, within the mode's own rounding."""
    gray = mode in ("1", "L", "LA", "La")
    colours = np.repeat(np.where(GRAY < 128, np.uint8(0), np.uint8(255))[..., None], 3, axis=2) if gray else CORNERS
    image = Image.fromarray(colours)
    for step in {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa"), "PA": ("P", "PA"), "LA": ("L", "LA")}.get(mode, (mode,)):
        image = image.quantize() if step == "P" else image.convert(step)
    assert image.mode == mode
    assert np.abs(read_picture(image).pixels.astype(int) - colours).max() <= 3


def test_lab_becomes_rgb() -> None:
    """Lightness alone is gray."""
    levels = read_picture(Image.merge("LAB", [Image.new("L", (2, 2), level) for level in (255, 128, 128)])).pixels
    assert levels.min() >= 250


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    """Also in JPEG, where Adobe stores it inverted."""
    got = pixels_of(Image.fromarray(CORNERS).convert("CMYK"), kind)
    assert np.abs(got[MIDDLES].astype(int) - CORNERS[MIDDLES]).max() <= 8


def test_sixteen_bits_are_scaled() -> None:
    """16-bit gray is read as its upper 8 bits, in either byte order, from PNG, TIFF, PPM and JPEG 2000."""
    wide = GRAY.astype(np.uint16) * 257
    expected = np.repeat(GRAY[..., None], 3, axis=2)
    image = Image.fromarray(wide)
    assert image.mode == "I;16"
    files = [encoded(image, kind) for kind in ("PNG", "TIFF", "PPM")]
    files.append(encoded(image, "JPEG2000"))
    files.append(encoded(Image.fromarray(wide.astype(">u2")), "TIFF"))
    for content in files:
        assert np.array_equal(read_picture(content).pixels, expected)
    assert np.array_equal(read_picture(Image.fromarray(wide.astype(">u2"))).pixels, expected)


def test_sixteen_bit_colours_are_scaled() -> None:
    """16-bit RGB is read as its upper 8 bits."""
    rows = b"".join(b"\0" + struct.pack(">6H", *(value * 257 for value in (9, 99, 199, 0, 255, 128))) for _ in range(2))
    assert read_picture(png(2, 2, 16, 2, rows)).pixels[0].tolist() == [[9, 99, 199], [0, 255, 128]]


def test_depth_and_meaning_of_tiff_samples_count() -> None:
    """12 bits are scaled as 12 bits; where zero is white, it is."""
    pairs = np.array([[0xFF, 0xF0, 0x00, 0x80, 0x08, 0x00]], np.uint8)  # 0xFFF, 0x000, 0x800, 0x800
    assert read_picture(tiff(pairs, 12)).pixels[0, :, 0].tolist() == [255, 0, 128, 128]
    wide = np.array([[0, 65535, 256]], "<u2")
    assert read_picture(tiff(wide, 16)).pixels[0, :, 0].tolist() == [0, 255, 1]
    assert read_picture(tiff(wide, 16, meaning=0)).pixels[0, :, 0].tolist() == [255, 0, 254]


def test_floats_from_0_to_1_are_scaled() -> None:
    """In TIFF and in PIL images."""
    image = Image.fromarray(GRAY.astype(np.float32) / 255)
    assert image.mode == "F"
    for source in (image, encoded(image, "TIFF")):
        assert np.array_equal(read_picture(source).pixels[..., 0], GRAY)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([[0.0, 1.5]], np.float32), "floats as pixels, some of them above 1;"),
        (np.array([[-0.1, 2.0]], np.float32), "below 0 or above 1"),
        (np.array([[0.0, np.nan]], np.float32), "NaN"),
        (np.array([[0.0, np.inf]], np.float32), "above 1"),
        (np.array([[0, 70000]], np.int32), "integers of 32 bits"),
    ],
)
def test_pixels_of_unknown_scale_are_refused(values: npt.NDArray[Any], found: str) -> None:
    """Nothing says which value is white: the error says what was found, and no value."""
    for source in (Image.fromarray(values), encoded(Image.fromarray(values), "TIFF")):
        with pytest.raises(InputError, match=found) as caught:
            read_picture(source)
        assert "70000" not in str(caught.value)


def test_signed_sixteen_bits_are_refused() -> None:
    """As nothing says which value is black."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[339] = 2
    content = bytearray(encoded(Image.fromarray(GRAY.astype(np.uint16)), "TIFF", tiffinfo=info))
    with pytest.raises(InputError, match="with a sign"):
        read_picture(bytes(content))


HALF = np.dstack([np.full((4, 4, 3), 200, np.uint8), np.repeat(np.array([[0], [255], [128], [0]], np.uint8), 4, 1)])


@pytest.mark.parametrize("hidden", [0, 200, 255])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparent_parts_are_white(kind: str, hidden: int) -> None:
    """Whatever lies under them."""
    pixels = HALF.copy()
    pixels[0, :, :3] = hidden
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    got = pixels_of(Image.fromarray(pixels), kind, **options)[:, 0, 0].astype(int)
    assert got[[0, 1, 3]].tolist() == [255, 200, 255]
    assert abs(got[2] - (200 * 128 + 255 * 127) / 255) <= 1


def test_transparent_gray_is_white() -> None:
    """Mode LA likewise."""
    gray = np.dstack([np.zeros((1, 2), np.uint8), np.array([[0, 255]], np.uint8)])
    assert pixels_of(Image.fromarray(gray))[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_entries_are_white(kind: str) -> None:
    """One entry, as in GIF, or an alpha for each."""
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert pixels_of(image, kind, transparency=0)[0].tolist() == [[255, 255, 255], [200, 100, 50]]
    if kind == "PNG":
        assert pixels_of(image, kind, transparency=bytes([255, 0]))[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent", "expected"),
    [
        (1, 0, b"\x40", b"\0\0", [255, 255]),  # black is transparent, white white
        (1, 0, b"\x40", b"\0\1", [0, 255]),
        (2, 0, b"\xc0", b"\0\3", [255, 0]),
        (4, 0, b"\x8f", b"\0\x08", [255, 255]),
        (8, 0, b"\x07\x09", b"\0\x07", [255, 9]),
        (16, 0, b"\x07\x07\x07\x08", b"\x07\x07", [255, 7]),
        (8, 2, b"\x07\x07\x07\x07\x07\x08", b"\0\x07\0\x07\0\x07", [255, 7]),
        (16, 2, b"\x07\x07" * 3 + b"\x07\x07" * 2 + b"\x09\x07", b"\x07\x07" * 3, [255, 7]),
    ],
)
def test_a_transparent_colour_is_white(
    depth: int, colour: int, row: bytes, transparent: bytes, expected: list[int]
) -> None:
    """PNG names one in its own depth, which may be another than that of decoded pixels."""
    content = png(2, 1, depth, colour, b"\0" + row, (b"tRNS", transparent))
    assert read_picture(content).pixels[0, :, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_wholly_transparent_pictures_are_refused(mode: str) -> None:
    """There is nothing to classify."""
    if mode == "P":
        content = encoded(Image.new("P", (2, 2)), "PNG", transparency=0)
    else:
        content = encoded(Image.new(mode, (2, 2)), "PNG")
    with pytest.raises(InputError, match="wholly transparent"):
        read_picture(content)
