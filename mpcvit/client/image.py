"""Pictures and other inputs as the ring codes that a Program reads: their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.inputs.read import InputSource, Reading, read_input
from mpcvit.picture import Fit
from mpcvit.picture.form import PixelArray
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.manifest import Manifest

#: By how much a normalised value may miss the darkest or the brightest pixel.
_HALF_STEP = 0.5
#: What :func:`read_model_input` takes; floats only as ``normalised``, or where the model has a window for them.
Source = InputSource | npt.NDArray[np.floating[Any]]


def encode_picture(source: Source, manifest: Manifest, *, fit: Fit | None = None, normalised: bool = False) -> Codes:
    """Return the codes of an input, of the shape that the manifest says; see :func:`read_model_input`."""
    return encode_pixels(read_model_input(source, manifest, fit=fit, normalised=normalised).pixels)


def read_model_input(
    source: Source, manifest: Manifest, *, fit: Fit | None = None, normalised: bool = False
) -> Reading:
    """Return what is in ``source`` as the model of ``manifest`` takes it.

    Args:
        source: a path, bytes, a binary file object, a PIL image, or an array of pixels: see
            :func:`mpcvit.inputs.read.read_input`; floats of the model's shape if they are ``normalised``.
        fit: what to do with a picture of another size or form than the model's; None refuses it.
        normalised: ``source`` holds (pixel / brightest - mean) / std, as the manifest says, instead of a picture.

    Raises:
        InputError: it cannot be read, or a normalised value is none that pixels give.
        ShapeMismatch: it has another size, or another layout.
    """
    if normalised:
        return Reading(_nearest_pixels(_check_normalised(source, manifest.input_shape), manifest))
    return read_input(source, manifest.input, fit)


def encode_pixels(pixels: PixelArray) -> Codes:
    """Return the codes of pixels of any shape: the pixels."""
    return pixels.astype(np.int64)


def _nearest_pixels(normalised: npt.NDArray[np.float64], manifest: Manifest) -> PixelArray:
    """Return the pixels that give ``normalised`` [.., channels, height, width], or nearly."""
    if not np.isfinite(normalised).all():
        raise InputError(
            f"{int((~np.isfinite(normalised)).sum())} of {normalised.size} values that are NaN or infinite",
            expected="finite numbers",
            remedy="Check how the picture was decoded and normalised.",
        )
    largest = manifest.input.largest
    mean, std = (np.asarray(part)[:, None, None] for part in (manifest.mean, manifest.std))
    exact = (normalised * std + mean) * largest
    outside = (exact < -_HALF_STEP) | (exact > largest + _HALF_STEP)
    if outside.any():
        raise InputError(
            f"{int(outside.sum())} of {exact.size} values outside of what pixels from 0 to {largest} give",
            expected="floats normalised with the manifest's mean and std",
            remedy="Give the picture as pixels, or as floats normalised the way the model's manifest says.",
        )
    pixels: PixelArray = np.rint(exact.clip(0, largest)).astype(np.uint16)
    return pixels


def _check_normalised(source: object, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    if not isinstance(source, np.ndarray) or not np.issubdtype(source.dtype, np.floating):
        kind = f"an array of {source.dtype}" if isinstance(source, np.ndarray) else f"a {type(source).__name__}"
        raise InputError(
            f"{kind} as normalised values",
            expected=f"an array of floats of shape {shape}",
            remedy="Leave normalised out for pictures: they are normalised here.",
        )
    if source.shape != shape:
        raise ShapeMismatch(
            f"normalised values of shape {source.shape}",
            expected=f"those of shape {shape}",
            remedy="Bring the picture to the model's size before it is normalised, with the channels first.",
        )
    return source.astype(np.float64)
