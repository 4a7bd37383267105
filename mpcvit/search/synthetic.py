"""Pictures made on the spot, so that a search can be tried without a data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mpcvit.data.image_set import ImageSet

Grid = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_SHAPES: dict[str, Callable[[Grid, Grid, float], Mask]] = {
    "cross": lambda y, x, r: (np.minimum(abs(y), abs(x)) < 0.3 * r) & (np.maximum(abs(y), abs(x)) < r),
    "disc": lambda y, x, r: y**2 + x**2 < r**2,
    "frame": lambda y, x, r: (np.maximum(abs(y), abs(x)) < r) & (np.maximum(abs(y), abs(x)) > 0.6 * r),
    "stripes": lambda y, x, r: (np.maximum(abs(y), abs(x)) < r) & (np.sin(6.5 * y / r) > 0),
}


def synthetic_pictures(count: int, size: int = 16, seed: int = 0) -> ImageSet:
    """Return ``count`` noisy pictures of one shape each, four classes: place, size and colours are random."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-1, 1, size)
    pictures, labels = [], np.arange(count, dtype=np.int64) % len(_SHAPES)
    for label in labels:
        (dy, dx), radius = rng.uniform(-0.25, 0.25, 2), rng.uniform(0.45, 0.7)
        ground = rng.uniform(0, 255, 3)
        colour = (ground + rng.uniform(90, 165, 3)) % 255  # never close to the ground in any channel
        inside = list(_SHAPES.values())[label](grid[:, None] - dy, grid[None, :] - dx, radius)
        picture = np.where(inside[..., None], colour, ground) + rng.normal(0, 12, (size, size, 3))
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return ImageSet(np.stack(pictures), labels, tuple(_SHAPES))
