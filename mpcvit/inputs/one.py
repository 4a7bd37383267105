"""One picture of an input, from whatever holds it."""

from __future__ import annotations

import numpy as np

from mpcvit.errors import ShapeMismatch
from mpcvit.inputs.content import Content, open_content
from mpcvit.inputs.limits import check_values
from mpcvit.inputs.planes import Planes, windowed
from mpcvit.inputs.spec import InputSpec
from mpcvit.picture.conform import conform
from mpcvit.picture.fit import Fit
from mpcvit.picture.form import PixelForm
from mpcvit.picture.reader import Picture, read_picture, sized, source_name


def pixel_form(spec: InputSpec) -> PixelForm:
    """Return what the pixels of every picture of an input are."""
    return PixelForm(spec.pixel_channels, spec.bits)


def read_one(source: object, spec: InputSpec, fit: Fit | None) -> Picture:
    """Return the picture in ``source`` as a model of ``spec`` reads it, pixels [height, width, channels].

    Raises:
        InputError, ShapeMismatch: it cannot be read, does not fit, or is several.
    """
    name = source_name(source)
    return picture_of(open_content(source, name), spec, fit, name)


def picture_of(content: Content, spec: InputSpec, fit: Fit | None, name: str) -> Picture:
    """Return the one picture in ``content``; see :func:`read_one`."""
    if isinstance(content, Planes):
        if len(content.values) != 1:
            raise ShapeMismatch(
                f"{name}, of {len(content.values)} slices or frames",
                expected="one picture",
                remedy="Choose one of them, or a model of volumes or clips.",
            )
        return plane_picture(content, 0, spec, fit, name)
    if isinstance(content, np.ndarray):
        check_values(content.shape, name)
        if spec.window is not None and np.issubdtype(content.dtype, np.floating) and content.ndim == 2:
            content = windowed(content, spec.window, pixel_form(spec), name)
    return read_picture(content, spec.size, fit, pixel_form(spec))


def plane_picture(planes: Planes, plane: int, spec: InputSpec, fit: Fit | None, name: str) -> Picture:
    """Return one of ``planes`` as a model of ``spec`` reads it."""
    form = pixel_form(spec)
    pixels = conform(planes.pixels(plane, spec.window, form, name), form, name, fit)
    return Picture(sized(pixels, name, spec.size, fit))
