"""Of several frames or pages, one is read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from mpcvit.picture import read_picture
from tests.support.pictures import encoded


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_is_taken_and_said(kind: str, tmp_path: Path) -> None:
    """Of animations and pages; the notice names the file and the number of frames."""
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    path = tmp_path / "moving"
    path.write_bytes(encoded(first, kind, save_all=True, append_images=[second, first]))
    picture = read_picture(path)
    assert picture.pixels[0, 0, 0] > 240 > 15 > picture.pixels[0, 0, 2]
    assert picture.notices == (f"{path} has 3 frames or pages: number 1 was taken.",)
    path.write_bytes(encoded(first, kind))
    assert read_picture(path).notices == ()


def test_the_frame_that_the_caller_chose_is_taken() -> None:
    """A PIL image shows one of its frames."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    opened = Image.open(io.BytesIO(encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])))
    opened.seek(1)
    picture = read_picture(opened)
    assert picture.pixels[0, 0].tolist() == [0, 0, 255]
    assert "number 2 was taken" in picture.notices[0]


@pytest.mark.parametrize("colour", [(1, 1, 1), (1, 0, 1)])
def test_later_frames_of_animations_keep_their_transparency(colour: tuple[int, ...]) -> None:
    """Which in colour is an alpha channel after the first frame."""
    frames = [Image.new("P", (4, 4), level) for level in (10, 200)]
    frames[1].putpixel((0, 0), 90)
    for frame in frames:
        frame.putpalette([level * part for level in range(256) for part in colour])
    options = {"transparency": 90, "disposal": 2, "optimize": False}
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(content)) as opened:
        opened.seek(1)
        pixels = read_picture(opened).pixels
    assert (pixels[0, 0].tolist(), pixels[1, 1].tolist()) == ([255] * 3, [200 * part for part in colour])
