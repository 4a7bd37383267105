"""Files and arrays as the codes that a model reads: the one way for clients, calibration and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpcvit.inputs.kind import InputKind
from mpcvit.inputs.one import read_one
from mpcvit.inputs.parts import read_parts
from mpcvit.inputs.spec import InputSpec
from mpcvit.picture.fit import Fit
from mpcvit.picture.form import PixelArray
from mpcvit.picture.reader import PictureSource

#: What :func:`read_input` takes: one picture, file or array, or a list of pictures.
InputSource = PictureSource | Sequence[PictureSource]


@dataclass(frozen=True, repr=False)
class Reading:
    """An input as a model reads it.

    Attributes:
        pixels: uint8 or uint16, of the shape of the model's input.
        notices: what the reader of the answer should know of how it was read; sentences.
    """

    pixels: PixelArray
    notices: tuple[str, ...] = ()


def as_source(pixels: PixelArray, spec: InputSpec) -> PixelArray:
    """Return the array that :func:`read_input` reads as ``pixels``, of the shape of the model's input."""
    return pixels if spec.kind.of_planes else np.moveaxis(pixels, -3, -1)


def read_input(source: object, spec: InputSpec, fit: Fit | None = None) -> Reading:
    """Return what is in ``source`` as a model of ``spec`` reads it.

    Args:
        source: a path, an encoded file as bytes or a binary file object, a PIL image, or pixels [height, width,
            channels]; gray ones may come without their last axis. Files are pictures, npy, DICOM or NIfTI, told by
            their content. For inputs of several pictures: a list or a folder of these, a file of frames, pages or
            slices, or an array with one more axis before.
        fit: what is to be done where size, colours, depth or number are not the model's; None refuses such inputs.

    Raises:
        ConfigError: the library that reads such files is not installed.
        InputError: it cannot be read.
        ShapeMismatch: it has another size, other channels, or another number of pictures.
    """
    if spec.kind is InputKind.PICTURE:
        picture = read_one(source, spec, fit)
        return Reading(np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)), picture.notices)
    pictures = list(read_parts(source, spec, fit))
    parts = [picture.pixels.transpose(2, 0, 1) for picture in pictures]
    notices = tuple(dict.fromkeys(notice for picture in pictures for notice in picture.notices))
    return Reading(np.concatenate(parts) if spec.kind.of_planes else np.stack(parts), notices)
