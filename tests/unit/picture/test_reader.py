"""Pictures in many forms; broken and large ones are refused with a reason."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFile

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.picture import MAX_PIXELS, Fit, read_picture
from tests.support.pictures import CORNERS, encoded, png


@pytest.mark.parametrize("source", ["path", "Path", "bytes", "bytearray", "memoryview", "file", "stream", "image"])
def test_pictures_come_in_many_forms(source: str, tmp_path: Path) -> None:
    """Each gives the same pixels; what the caller opened stays open."""
    path = tmp_path / "x.png"
    Image.fromarray(CORNERS).save(path)
    content = path.read_bytes()
    with path.open("rb") as file, Image.open(path) as image:
        forms = {
            "path": str(path),
            "Path": path,
            "bytes": content,
            "bytearray": bytearray(content),
            "memoryview": memoryview(content),
            "file": file,
            "stream": io.BytesIO(content),
            "image": image,
        }
        assert np.array_equal(read_picture(forms[source]).pixels, CORNERS)
        assert not file.closed
        assert image.getpixel((0, 0)) == (250, 10, 10)


def test_broken_files_are_one_typed_error(tmp_path: Path) -> None:
    """Missing, a folder, empty, text, cut off: the error names the file and quotes nothing of it."""
    path = tmp_path / "secret.png"
    for content in (
        b"",
        b"hello, I am no picture",
        encoded(Image.fromarray(CORNERS), "PNG")[:60],
        b"P6\n2\x7f 2\n255\nxx",
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"secret\.png") as caught:
            read_picture(path)
        assert caught.value.reason == "INVALID_INPUT"
        assert "hello" not in str(caught.value)
        assert "\\x7f" not in str(caught.value)
        assert caught.value.__cause__ is None
    for odd in (tmp_path, tmp_path / "missing.png", tmp_path / ("x" * 5000), "a\0b"):
        with pytest.raises(InputError, match="reading"):
            read_picture(odd)


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As any other file that cannot be read."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(InputError, match=r"PermissionError reading .*mine\.png"):
        read_picture(tmp_path / "mine.png")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError, SyntaxError, ValueError, struct.error, OverflowError, MemoryError, EOFError, ZeroDivisionError,
        IndexError, KeyError, TypeError, AttributeError, NotImplementedError, AssertionError, RecursionError,
        zlib.error, UnicodeDecodeError,
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["open", "load"])
def test_whatever_a_decoder_raises_is_typed(
    where: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow's plugins raise anything, by the header or by the pixels."""

    def fail(*_: object, **__: object) -> None:
        raise UnicodeDecodeError("ascii", b"pixels", 0, 1, "x") if error is UnicodeDecodeError else error("pixels")

    monkeypatch.setattr(*((Image, "open", fail) if where == "open" else (ImageFile.ImageFile, "load", fail)))
    with pytest.raises(InputError, match=error.__name__) as caught:
        read_picture(encoded(Image.fromarray(CORNERS), "PNG"))
    assert "pixels" not in str(caught.value)


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "DDS", "PPM", "TGA", "ICO", "PCX"]
)
def test_damage_anywhere_is_typed(kind: str) -> None:
    """Cut off, or with bytes changed: pixels or an InputError, nothing else, and no warning."""
    content = encoded(Image.fromarray(CORNERS), kind)
    rng = np.random.default_rng(0)
    for turn in range(60):
        damaged = bytearray(content[: rng.integers(len(content))] if turn % 3 == 0 else content)
        for _ in range(turn % 3 * 4):
            damaged[rng.integers(min(len(damaged), 200))] = rng.integers(256)
        with suppress(InputError):
            assert read_picture(bytes(damaged)).pixels.dtype == np.uint8


def test_huge_metadata_is_refused() -> None:
    """A text chunk that unpacks to megabytes."""
    text = b"comment\0\0" + zlib.compress(b"x" * 2_000_000)
    with pytest.raises(InputError, match="ValueError"):
        read_picture(png(1, 1, 8, 0, b"\0\0", (b"zTXt", text)))


def _claims(width: int, height: int) -> bytes:
    """A PNG file that claims a size, and has no such pixels."""
    return png(width, height, 8, 0, b"\0")


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding fails the test."""

    def load(*_: object) -> None:
        pytest.fail("a picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("fit", [None, Fit.MODEL])
@pytest.mark.parametrize("side", [8193, 12000, 30000])
def test_large_pictures_are_refused_by_their_header(side: int, fit: Fit | None) -> None:
    """Before they are decoded, with the limit, whether they are to be made to fit or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=f"at most {MAX_PIXELS:,} pixels"):
            read_picture(_claims(side, side), (8, 8), fit)


@pytest.mark.usefixtures("undecoded")
def test_other_sizes_are_refused_by_the_header() -> None:
    """With both sizes, width first, and the option that would make the picture fit."""
    with pytest.raises(ShapeMismatch, match=r"30 x 20 pixels.*8 x 9 pixels.*--fit model"):
        read_picture(_claims(30, 20), (9, 8))


def test_large_images_and_empty_ones_are_refused_in_memory() -> None:
    """The limit is one for arrays and PIL images too."""
    with pytest.raises(InputError, match="at most"):
        read_picture(np.broadcast_to(np.uint8(0), (8193, 8193, 3)))
    for empty in (np.zeros((0, 8, 3), np.uint8), Image.new("RGB", (0, 8))):
        with pytest.raises(InputError, match=r"0 pixels|0 x 8"):
            read_picture(empty, (8, 8), Fit.MODEL)


CASES = Path(__file__).resolve().parents[4] / "shared/cases/pictures"


@pytest.mark.skipif(not CASES.is_dir(), reason="the collected pictures are not beside this checkout")
def test_collected_pictures() -> None:
    """Pictures that users of comparable products reported."""

    def read(name: str) -> npt.NDArray[np.int64]:
        return read_picture(CASES / name, (32, 32)).pixels.astype(np.int64)

    plain = read("plain.png")
    for orientation in (3, 6):
        assert np.array_equal(read(f"ship_exif{orientation}.png"), plain)
        assert np.abs(read(f"ship_exif{orientation}.jpg") - plain).max() <= 8
    assert np.array_equal(read("gray16.png"), read("gray8.png"))
    for hidden in ("black", "white"):
        assert np.array_equal(read(f"alpha_hidden_{hidden}.png"), read("alpha_flattened_on_white.png"))
    assert read("cmyk.jpg").shape == (32, 32, 3)
    assert read_picture(CASES / "anim.gif").notices
    for bad in ("bomb.png", "large12000.png", "long_text.png", *(path.name for path in CASES.glob("*Error_*"))):
        with pytest.raises(InputError) as caught:
            read(bad)
        assert (caught.value.reason, bad in str(caught.value)) == ("INVALID_INPUT", True)


def test_the_page_states_the_limit() -> None:
    """docs/pictures.md has the number of pixels."""
    assert f"{MAX_PIXELS:,} pixels" in (Path(__file__).resolve().parents[3] / "docs" / "pictures.md").read_text()
