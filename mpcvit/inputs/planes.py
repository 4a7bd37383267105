"""What a medical file holds: planes of measured values, or of pixels, before a model's window is applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mpcvit.errors import InputError
from mpcvit.picture.form import PixelArray, PixelForm


@dataclass(frozen=True, repr=False)
class Planes:
    """Planes of one size.

    Attributes:
        values: [planes, height, width] as measured, or uint8 or uint16 pixels [planes, height, width, channels].
        window: the values that the file itself shows as the darkest and the brightest, if it says so.
        inverted: whether low values are bright.
        order: of the first plane among those of other files: its distance along their normal, in mm, and its number;
            None where the file does not say.
        series: what files of one acquisition have in common; empty if unknown.
    """

    values: npt.NDArray[Any]
    window: tuple[float, float] | None = None
    inverted: bool = False
    order: tuple[float | None, float | None] = (None, None)
    series: str = ""

    def pixels(self, plane: int, window: tuple[float, float] | None, form: PixelForm, name: str) -> PixelArray:
        """Return one plane as pixels [height, width, channels]: measured values by ``window``, or by the file's own.

        Gray becomes RGB of equal channels where ``form`` is RGB.

        Raises:
            InputError: nothing says which value is white, or a value is none.
        """
        values = self.values[plane]
        if values.ndim == 2:
            if window is None and self.window is None and values.dtype in (np.uint8, np.uint16):
                values = values[..., None]
            else:
                values = windowed(values, window or self.window, form, name)[..., None]
            values = ~values if self.inverted else values
        return np.repeat(values, 3, axis=2) if (values.shape[2], form.channels) == (1, 3) else values


def windowed(values: npt.NDArray[Any], window: tuple[float, float] | None, form: PixelForm, name: str) -> PixelArray:
    """Return measured ``values`` of any shape as pixels of the depth of ``form``; beyond the window cut off.

    Args:
        window: the values that become 0 and the brightest pixel.

    Raises:
        InputError: there is no window, or a value is not finite.
    """
    if window is None:
        raise InputError(
            f"{name}, measured values of type {values.dtype}",
            expected="pixels of 8 or 16 bits, as the model has no window that says which value is white",
            remedy="Scale the values to pixels first, or ask the model's owner for a model with a window.",
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{name} with {int((~np.isfinite(values)).sum())} values that are NaN or infinite",
            expected="finite values",
            remedy="Put a value there first, such as that of air.",
        )
    lo, hi = window
    scaled = (values.astype(np.float64) - lo) * (form.largest / (hi - lo))
    pixels: PixelArray = np.rint(scaled.clip(0, form.largest)).astype(form.dtype)
    return pixels
