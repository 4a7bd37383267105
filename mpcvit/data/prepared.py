"""A few pictures of an image folder, each made to fit a model: no need to decode them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from mpcvit.data.class_folders import find_pictures, part, read_files
from mpcvit.picture import read_picture


@dataclass(frozen=True, repr=False)
class PreparedImages:
    """Pictures as a model reads them.

    Attributes:
        images: float32 [count, channels, size, size], normalised.
        classes: names of all the folder's classes, sorted.
        unreadable: chosen files that were left out, as they cannot be read.
        notices: what should be known of how pictures were read; sentences.
    """

    images: torch.Tensor
    classes: tuple[str, ...]
    unreadable: int = 0
    notices: tuple[str, ...] = ()


def load_prepared(
    root: Path, count: int, prepare: Callable[[Image.Image], torch.Tensor], *, skip_unreadable: bool = False
) -> PreparedImages:
    """Return ``count`` pictures at even distances through the classes of ``root/train`` or, without that part, of
    ``root``.

    Args:
        prepare: resizes, crops and normalises an RGB picture.
        skip_unreadable: leave files out that cannot be read as pictures, and count them; fewer pictures are left.

    Raises:
        InputError: no such folder, a class without a picture, or a file that is no picture.
    """
    found = find_pictures(part(root, "train"))
    count = min(count, len(found.files))
    chosen = [found.files[number * len(found.files) // count] for number in range(count)]
    read = read_files(
        chosen,
        read_picture,
        lambda picture: (picture.pixels.shape[:2], prepare(Image.fromarray(picture.pixels))),
        skip_unreadable=skip_unreadable,
    )
    images = torch.stack([image for _, image in read.results])
    resized = sum(shape != image.shape[1:] for shape, image in read.results)
    notices = list(read.notices)
    if resized:
        notices.append(f"{resized} of {len(images)} pictures had another size than the model's, and were made to fit.")
    return PreparedImages(images, found.classes, read.unreadable, tuple(notices))
