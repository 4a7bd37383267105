"""PixelArray of one form as those of another, where the caller asks for it."""

from __future__ import annotations

import numpy as np

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.picture.fit import Fit
from mpcvit.picture.form import PixelArray, PixelForm

#: ITU-R 601: what red, green and blue are of gray, in 2^-16, as Pillow has it.
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint64)
_CONVERTED = {1, 3}


def conform(pixels: PixelArray, form: PixelForm, name: str, fit: Fit | None) -> PixelArray:
    """Return ``pixels`` [height, width, channels] in ``form``; those that have it as they are.

    Where ``fit`` asks for it, colours become gray by ITU-R 601, gray becomes RGB of equal channels, 16 bits keep their
    upper 8, and 8 bits are stretched: white stays white.

    Args:
        name: of the picture, for messages.

    Raises:
        ShapeMismatch: another number of channels, and no fit, or one that nothing converts.
        InputError: another depth, and no fit.
    """
    found = PixelForm.of(pixels)
    if found == form:
        return pixels
    asked = fit is not None
    if found.channels != form.channels and not (asked and {found.channels, form.channels} <= _CONVERTED):
        remedy = "Convert its colours first"
        if {found.channels, form.channels} <= _CONVERTED:
            remedy += ", or have them converted: fit='model', on the command line --fit model"
        raise ShapeMismatch(f"{name}, which is {found}", expected=f"what the model reads: {form}", remedy=f"{remedy}.")
    if found.bits != form.bits and not asked:
        raise InputError(
            f"{name}, which is {found}",
            expected=f"what the model reads: {form}",
            remedy="Convert its depth first, or have it converted so that white stays white: fit='model', on the "
            "command line --fit model.",
        )
    return _of_depth(_of_channels(pixels, form.channels), form)


def _of_channels(pixels: PixelArray, channels: int) -> PixelArray:
    if pixels.shape[2] == channels:
        return pixels
    if channels == 1:
        gray = (pixels.astype(np.uint64) @ _LUMA + np.uint64(1 << 15)) >> np.uint64(16)
        return gray.astype(pixels.dtype)[..., None]
    return np.repeat(pixels, channels, axis=2)


def _of_depth(pixels: PixelArray, form: PixelForm) -> PixelArray:
    if pixels.dtype == form.dtype:
        return pixels
    return (pixels >> np.uint16(8)).astype(np.uint8) if form.bits == 8 else pixels.astype(np.uint16) * np.uint16(257)
