"""Arrays that are no pictures are refused by their layout."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.picture import read_picture


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (None, "of type NoneType"),
        ([[[1, 2, 3]]], "of type list"),
        (7, "of type int"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), "of type torch.Tensor"),
        (np.uint8(3), "of type numpy.uint8"),
        (io.StringIO("text"), "a file object that gives str"),
        (np.zeros((8, 8, 3), bool), "an array of bool"),
        (np.zeros((8, 8, 3), np.int64), "an array of int64"),
        (np.zeros((8, 8, 3), np.uint16), "an array of uint16"),
        (np.zeros((8, 8, 3), complex), "an array of complex128"),
        (np.zeros((8, 8, 3), object), "an array of object"),
        (np.zeros((8, 8, 3)), r"an array of float64.*normalised=True"),
        (np.full((3, 8, 8), np.nan, np.float32), r"an array of float32.*normalised=True"),
    ],
)
def test_other_types_are_refused(source: object, found: str) -> None:
    """The error names the type, and says what is taken."""
    with pytest.raises(InputError, match=found) as caught:
        read_picture(source)
    assert "bytes" in caught.value.expected or "uint8 [height, width, 3]" in caught.value.expected


@pytest.mark.parametrize(
    ("shape", "looks", "convert"),
    [
        ((3, 8, 8), r"RGB pixels \[3, height, width\]", "picture.transpose(1, 2, 0)"),
        ((8, 8), r"gray pixels \[height, width\]", "np.stack([picture] * 3, axis=-1)"),
        ((8, 8, 1), r"gray pixels \[height, width, 1\]", "np.repeat(picture, 3, axis=2)"),
        ((1, 8, 8), r"gray pixels \[1, height, width\]", "np.stack([picture[0]] * 3, axis=-1)"),
        ((8, 8, 2), "gray and alpha", "PIL.Image.fromarray(picture)"),
        ((8, 8, 4), "RGBA pixels", "PIL.Image.fromarray(picture)"),
        ((4, 8, 8), r"RGBA pixels \[4, height, width\]", "PIL.Image.fromarray(picture.transpose(1, 2, 0))"),
        ((2, 8, 8, 3), "a batch of 2", "picture[0]"),
        ((8,), "no picture", "8-bit RGB"),
        ((), "no picture", "8-bit RGB"),
        ((8, 8, 5), "no picture", "8-bit RGB"),
    ],
)
def test_other_layouts_are_named(shape: tuple[int, ...], looks: str, convert: str) -> None:
    """The error is of the layout, not of the size, and its remedy works."""
    array = np.full(shape, 7, np.uint8)
    with pytest.raises(ShapeMismatch, match=looks) as caught:
        read_picture(array, (8, 8))
    assert "layout" in caught.value.expected
    assert convert in caught.value.remedy
    code = convert.removeprefix("PIL.")
    if "(" in code or "[" in code:
        converted = eval(code, {"np": np, "Image": Image, "picture": array})  # noqa: S307 - this test's own text
        assert read_picture(converted, (8, 8)).pixels.shape == (8, 8, 3)
