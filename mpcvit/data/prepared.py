"""A few pictures of an image folder, each made to fit a model: no need to decode them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError

from mpcvit.compat import prepare_torchvision
from mpcvit.errors import InputError


@dataclass(frozen=True, repr=False)
class PreparedImages:
    """Pictures as a model reads them.

    Attributes:
        images: float32 [count, channels, size, size], normalised.
        classes: names of all the folder's classes, sorted.
    """

    images: torch.Tensor
    classes: tuple[str, ...]


def load_prepared(root: Path, count: int, prepare: Callable[[Image.Image], torch.Tensor]) -> PreparedImages:
    """``count`` pictures at even distances through the classes of ``root/train`` or, without that part, of ``root``.

    Args:
        prepare: resizes, crops and normalises an RGB picture.

    Raises:
        InputError: no such folder, no class with a picture in it, or a file that is no picture.
    """
    prepare_torchvision()
    from torchvision.datasets import ImageFolder

    folder = root / "train" if (root / "train").is_dir() else root
    try:
        found = ImageFolder(str(folder))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"no classes with pictures in {folder}",
            expected="a folder of one subfolder per class, or a part 'train' of that form",
            remedy="Point --data at an image folder.",
        ) from error
    count = min(count, len(found.samples))
    chosen = [found.samples[number * len(found.samples) // count][0] for number in range(count)]
    return PreparedImages(torch.stack([_open(path, prepare) for path in chosen]), tuple(found.classes))


def _open(path: str, prepare: Callable[[Image.Image], torch.Tensor]) -> torch.Tensor:
    try:
        with Image.open(path) as picture:
            return prepare(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(
            f"{type(error).__name__} reading {path}",
            expected="a picture in a common format",
            remedy="Remove the file, or convert it to JPEG or PNG.",
        ) from error
