"""A labelled set of small pictures in memory, read from an image folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mpcvit.compat import prepare_torchvision
from mpcvit.errors import InputError, ShapeMismatch


@dataclass(frozen=True, repr=False)
class ImageSet:
    """Pictures and labels.

    Attributes:
        images: uint8 [count, height, width, 3], RGB.
        labels: int64 [count], indices into ``classes``.
        classes: label names, sorted.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: npt.NDArray[np.int64]) -> ImageSet:
        """The pictures at ``indices``, in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.classes)

    def spread(self, count: int) -> ImageSet:
        """``count`` pictures at even distances, so that a folder sorted by class gives all classes."""
        count = min(count, len(self))
        return self.subset(np.arange(count, dtype=np.int64) * len(self) // count)

    def split(self, count: int, seed: int) -> tuple[ImageSet, ImageSet]:
        """(the rest, ``count`` pictures drawn at random under ``seed``)."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.subset(order[count:]), self.subset(order[:count])


def load_folder(folder: Path) -> ImageSet:
    """The pictures in ``folder/<class>/*``, in sorted order.

    Raises:
        InputError: no such folder, or no class with a picture in it.
        ShapeMismatch: the pictures differ in size.
    """
    prepare_torchvision()
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(folder))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"no classes with pictures in {folder}",
            expected="a folder of one subfolder per class",
            remedy="Point --data at an image folder, or fetch one with 'mpcvit data cifar10'.",
        ) from error
    pictures = [np.asarray(picture) for picture, _ in found]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1:
        raise ShapeMismatch(
            f"pictures of {len(shapes)} different sizes in {folder}",
            expected="pictures of one size",
            remedy="Resize them to the model's input size first.",
        )
    return ImageSet(np.stack(pictures), np.array(found.targets, dtype=np.int64), tuple(found.classes))
