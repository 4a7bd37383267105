"""Pictures come upright, whatever they are stored as."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mpcvit.errors import ShapeMismatch
from mpcvit.picture import read_picture
from tests.support.pictures import CORNERS, MIDDLES, Transpose, encoded

#: How a camera that is held so stores what it sees, by the orientation in EXIF.
STORED = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_pictures_are_upright(kind: str, orientation: int) -> None:
    """All orientations of EXIF, in every format that has it, also if the model's sides differ."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = STORED[orientation]
    image = Image.fromarray(CORNERS) if turn is None else Image.fromarray(CORNERS).transpose(turn)
    content = encoded(image, kind, exif=exif)
    for picture in (read_picture(content), read_picture(content, (16, 24))):
        assert picture.pixels.shape == (16, 24, 3)
        assert np.abs(picture.pixels[MIDDLES].astype(int) - CORNERS[MIDDLES]).max() <= 12  # lossy formats
    opened = Image.open(io.BytesIO(content))
    assert np.array_equal(read_picture(opened).pixels, read_picture(content).pixels)
    with pytest.raises(ShapeMismatch):
        read_picture(content, (24, 16))  # the size as stored, if turned; or simply another one


def test_orientation_in_xmp_counts() -> None:
    """Some programs write it there."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    turned = Image.fromarray(CORNERS).transpose(Transpose.ROTATE_180)
    assert np.array_equal(read_picture(encoded(turned, "WEBP", xmp=xmp, lossless=True)).pixels, CORNERS)


def test_unreadable_metadata_is_said() -> None:
    """A good picture with damaged EXIF is taken as stored, with a notice."""
    picture = read_picture(encoded(Image.fromarray(CORNERS), "PNG", exif=b"Exif\0\0not a TIFF header"))
    assert np.array_equal(picture.pixels, CORNERS)
    (notice,) = picture.notices
    assert "metadata that cannot be read" in notice
