"""Pictures as codes: from every form, or refused before anything is sent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mpcvit.client import Client, MockTransport, Submission
from mpcvit.client.image import encode_picture
from mpcvit.errors import (
    InputError,
    ShapeMismatch,
)
from mpcvit.picture import Fit, read_picture
from tests.support.stand_in import MANIFEST, PIXELS, first_values


def test_pictures_in_every_form_encode_alike(tmp_path: Path) -> None:
    """A PNG file, a PIL image, pixels and normalised floats give the same codes."""
    path = tmp_path / "x.png"
    Image.fromarray(PIXELS).save(path)
    floats = ((PIXELS / 255 - 0.5) / 0.25).transpose(2, 0, 1)
    expected = encode_picture(PIXELS, MANIFEST)
    for picture in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.open(path)):
        assert np.array_equal(encode_picture(picture, MANIFEST), expected)
    for picture in (floats, floats.astype(np.float32)):
        assert np.array_equal(encode_picture(picture, MANIFEST, normalised=True), expected)


def test_codes_are_pixels_and_floats_become_the_nearest() -> None:
    """Pixels come channel by channel; normalised values up to half a step outside of them are rounded, no others."""
    assert (encode_picture(PIXELS, MANIFEST) == PIXELS.transpose(2, 0, 1)).all()
    grey = np.array([-0.4, 0.4, 99.7, 255.4] * 48).reshape(3, 8, 8)
    codes = encode_picture((grey / 255 - 0.5) / 0.25, MANIFEST, normalised=True)
    assert codes.reshape(-1)[:4].tolist() == [0, 0, 100, 255]
    for wrong in (-0.6, 255.6):
        with pytest.raises(InputError, match="192 of 192 values outside"):
            encode_picture(np.full((3, 8, 8), (wrong / 255 - 0.5) / 0.25), MANIFEST, normalised=True)


@pytest.mark.parametrize(
    ("picture", "options", "kind", "message"),
    [
        (np.zeros((9, 8, 3), np.uint8), {}, ShapeMismatch, r"8 x 9 pixels.*8 x 8 pixels.*fit='model'"),
        (np.zeros((8, 8), np.uint8), {}, ShapeMismatch, "layout"),
        (np.zeros((3, 8, 8), np.uint8), {}, ShapeMismatch, "layout"),
        (np.full((3, 8, 8), np.nan), {"normalised": True}, InputError, "NaN"),
        (np.full((3, 8, 8), np.inf), {"normalised": True}, InputError, "infinite"),
        (np.full((3, 8, 8), 99.0), {"normalised": True}, InputError, "outside"),
        (np.zeros((8, 8, 3)), {"normalised": True}, ShapeMismatch, r"shape \(8, 8, 3\).*shape \(3, 8, 8\)"),
        (np.zeros((3, 9, 9)), {"normalised": True, "fit": "model"}, ShapeMismatch, r"shape \(3, 9, 9\)"),
        (PIXELS, {"normalised": True}, InputError, "an array of uint8 as normalised values"),
        ("x.png", {"normalised": True}, InputError, "a str as normalised values"),
        (np.zeros((3, 8, 8)), {}, InputError, "normalised=True"),
        (np.zeros((8, 8, 3), np.float32), {}, InputError, "normalised=True"),
        (np.zeros((8, 8, 3), np.int32), {}, InputError, "int32"),
        (PIXELS, {"fit": "stretch"}, InputError, "fit 'stretch'"),
        (PIXELS.tolist(), {}, InputError, "type list"),
        (None, {}, InputError, "type NoneType"),
        ("missing.png", {}, InputError, "FileNotFoundError"),
    ],
)
def test_bad_pictures_are_refused_before_anything_is_sent(
    picture: Any, options: dict[str, Any], kind: type, message: str
) -> None:
    """Wrong size, layout, NaN, range, type and path: typed errors, and no submission."""

    class Never(MockTransport):
        def submit(self, submission: Submission, deadline: float) -> None:
            pytest.fail("something was sent")

    with Client(Never.parties(MANIFEST, first_values)) as client, pytest.raises(kind, match=message) as caught:
        client.infer(picture, **options)
    assert caught.value.got
    assert caught.value.expected
    assert caught.value.remedy


def test_a_text_file_is_not_a_picture(tmp_path: Path) -> None:
    """Undecodable files are input errors."""
    (tmp_path / "x.jpg").write_text("hello")
    with pytest.raises(InputError, match="UnidentifiedImageError"):
        encode_picture(tmp_path / "x.jpg", MANIFEST)


def test_pictures_of_another_size_are_made_to_fit_if_asked_for() -> None:
    """The answer is that of the resized picture."""
    large = Image.fromarray(PIXELS).resize((40, 24))
    fitted = read_picture(large, (8, 8), Fit.MODEL).pixels
    with Client(MockTransport.parties(MANIFEST, first_values)) as client:
        expected = client.infer(fitted).logits
        for picture in (large, np.asarray(large)):
            assert (client.infer(picture, fit="model").logits == expected).all()
            with pytest.raises(ShapeMismatch, match="40 x 24 pixels"):
                client.infer(picture)
