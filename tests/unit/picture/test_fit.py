"""Pictures of another size, made to fit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.picture import Fit, read_picture
from mpcvit.picture.fit import fitted
from tests.support.pictures import CORNERS, Transpose, encoded


@pytest.mark.parametrize("source", ["array", "file", "image"])
def test_fit_resizes_the_shorter_side_and_crops_the_centre(source: str) -> None:
    """A wide picture loses left and right; what is left is resized with antialiasing, not picked."""
    rng = np.random.default_rng(0)
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = rng.integers(0, 2, (64, 64, 1)) * 255
    forms = {"array": wide, "file": encoded(Image.fromarray(wide), "PNG"), "image": Image.fromarray(wide)}
    got = read_picture(forms[source], (8, 8), Fit.MODEL).pixels
    resized = np.asarray(Image.fromarray(wide).resize((16, 8), Image.Resampling.BICUBIC))
    assert np.abs(got.astype(int) - resized[:, 4:12]).max() <= 1
    assert 80 < got.mean() < 175  # means of many pixels
    assert got.std() < 40
    with pytest.raises(ShapeMismatch):
        read_picture(forms[source], (8, 8))


def test_fit_leaves_pictures_of_the_right_size() -> None:
    """Bit for bit; others are cropped after they are turned upright."""
    image = Image.fromarray(CORNERS)
    assert fitted(image, (16, 24)) is image
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(image.transpose(Transpose.ROTATE_90), "PNG", exif=exif)
    assert np.array_equal(read_picture(content, (16, 24), Fit.MODEL).pixels, CORNERS)
    assert read_picture(content, (4, 4), Fit.MODEL).pixels.shape == (4, 4, 3)


def test_fit_of_very_long_pictures_takes_no_memory() -> None:
    """The picture is cropped before it is resized."""
    strip = np.zeros((1, 1_000_000, 3), np.uint8)
    assert read_picture(strip, (32, 32), Fit.MODEL).pixels.shape == (32, 32, 3)


def test_fits_have_names() -> None:
    """Nothing is nothing; an unknown name is an error with the known ones."""
    assert (Fit.parse(None), Fit.parse(""), Fit.parse("model")) == (None, None, Fit.MODEL)
    with pytest.raises(InputError, match="fit 'stretch'; expected model"):
        Fit.parse("stretch")
