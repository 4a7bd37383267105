"""Colours of labels over a picture."""

from __future__ import annotations

import numpy as np

from mpcvit.picture.overlay import overlay, palette


def test_colours_are_those_of_pascal_voc() -> None:
    """The first ones of its list, and all different."""
    known = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128]]
    assert palette(7).tolist() == known
    assert palette(21)[20].tolist() == [0, 64, 128]
    assert len({tuple(colour) for colour in palette(256).tolist()}) == 256


def test_half_of_the_picture_shows_through() -> None:
    """Of every pixel."""
    pixels = np.full((2, 3, 3), 200, dtype=np.uint8)
    mixed = np.asarray(overlay(pixels, np.array([[0, 1, 1], [0, 0, 2]])))
    assert mixed[0].tolist() == [[100, 100, 100], [164, 100, 100], [164, 100, 100]]
    assert mixed[1, 2].tolist() == [100, 164, 100]
