"""Pictures as the ring codes that a Program reads: their 8-bit pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.picture import Fit, PictureSource, read_picture
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import PIXEL
from mpcvit.wire.manifest import Manifest

#: By how much a normalised value may miss the darkest or the brightest pixel.
_HALF_STEP = 0.5
#: What :func:`read_input` takes; floats only as ``normalised``.
Source = PictureSource | npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, repr=False)
class ModelInput:
    """A picture of the model's size, before it is encoded.

    Attributes:
        values: uint8 pixels [height, width, channels], or normalised floats [channels, height, width].
        notices: what the reader of the answer should know of how the picture was read; sentences.
    """

    values: npt.NDArray[np.uint8] | npt.NDArray[np.floating[Any]]
    notices: tuple[str, ...] = ()


def encode_picture(source: Source, manifest: Manifest, *, fit: Fit | None = None, normalised: bool = False) -> Codes:
    """Return the codes [channels, height, width] of a picture; see :func:`read_input`."""
    return encode_values(read_input(source, manifest, fit=fit, normalised=normalised).values, manifest)


def encode_values(values: npt.NDArray[np.uint8] | npt.NDArray[np.floating[Any]], manifest: Manifest) -> Codes:
    """Return the codes [channels, height, width] of what :func:`read_input` gives.

    Raises:
        InputError: a value is NaN, infinite or out of range.
    """
    if values.dtype != np.uint8:
        return _nearest_pixels(values.astype(np.float64), manifest)
    return values.transpose(2, 0, 1).astype(np.int64)


def _nearest_pixels(normalised: npt.NDArray[np.float64], manifest: Manifest) -> Codes:
    """Return the pixels that give ``normalised`` [channels, height, width], or nearly."""
    if not np.isfinite(normalised).all():
        raise InputError(
            f"{int((~np.isfinite(normalised)).sum())} of {normalised.size} values that are NaN or infinite",
            expected="finite numbers",
            remedy="Check how the picture was decoded and normalised.",
        )
    mean, std = (np.asarray(part)[:, None, None] for part in (manifest.mean, manifest.std))
    exact = (normalised * std + mean) * PIXEL.hi
    outside = (exact < PIXEL.lo - _HALF_STEP) | (exact > PIXEL.hi + _HALF_STEP)
    if outside.any():
        raise InputError(
            f"{int(outside.sum())} of {exact.size} values outside of what pixels from 0 to 255 give",
            expected="floats normalised with the manifest's mean and std",
            remedy="Give the picture as 8-bit RGB, or as floats normalised the way the model's manifest says.",
        )
    pixels: Codes = np.rint(exact.clip(PIXEL.lo, PIXEL.hi)).astype(np.int64)
    return pixels


def read_input(source: Source, manifest: Manifest, *, fit: Fit | None = None, normalised: bool = False) -> ModelInput:
    """Return the picture in ``source`` as the model of ``manifest`` takes it.

    Args:
        source: a path, bytes, a binary file object, a PIL image, or uint8 RGB [height, width, 3]; floats
            [3, height, width] if they are ``normalised``.
        fit: what to do with a picture of another size than the model's; None refuses it.
        normalised: ``source`` holds (pixel / 255 - mean) / std, as the manifest says, instead of a picture.

    Raises:
        InputError: it cannot be read as a picture.
        ShapeMismatch: it has another size, or another layout.
    """
    channels, height, width = manifest.input_shape
    if normalised:
        return ModelInput(_check_normalised(source, manifest.input_shape))
    picture = read_picture(source, (height, width), fit)
    if picture.pixels.shape != (height, width, channels):
        raise ShapeMismatch(
            f"a picture of shape {picture.pixels.shape}",
            expected=f"pixels [height, width, channels] of shape {(height, width, channels)}",
            remedy="Choose a model of RGB pictures.",
        )
    return ModelInput(picture.pixels, picture.notices)


def _check_normalised(source: object, shape: tuple[int, int, int]) -> npt.NDArray[np.floating[Any]]:
    if not isinstance(source, np.ndarray) or not np.issubdtype(source.dtype, np.floating):
        kind = f"an array of {source.dtype}" if isinstance(source, np.ndarray) else f"a {type(source).__name__}"
        raise InputError(
            f"{kind} as normalised values",
            expected="an array of floats [3, height, width]",
            remedy="Leave normalised out for pictures: they are normalised here.",
        )
    if source.shape != shape:
        raise ShapeMismatch(
            f"normalised values of shape {source.shape}",
            expected=f"[channels, height, width] of shape {shape}",
            remedy="Bring the picture to the model's size before it is normalised, with the channels first.",
        )
    return source
