"""Photographs that families of hard pictures draw on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mpcvit import zoo
from mpcvit.check.families import Pixels
from mpcvit.data.prepared import load_prepared
from mpcvit.picture.fit import Fit, fitted
from mpcvit.picture.reader import read_picture

_COUNT = 200


def photographs(data: Path | None, size: tuple[int, int]) -> Pixels:
    """Return pictures of an image folder, at most 200, or the shipped ones; uint8 [count, height, width, 3].

    Args:
        data: an image folder, or None.
        size: height and width that they are fitted to.

    Raises:
        InputError: no pictures, or one that cannot be read.
    """
    if data is None:
        files = sorted(zoo.PICTURES.iterdir())
        return np.stack([read_picture(file, size, Fit.MODEL).pixels for file in files])

    def pixels(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(fitted(image, size)).transpose(2, 0, 1))

    return load_prepared(data, _COUNT, pixels).images.permute(0, 2, 3, 1).numpy()
