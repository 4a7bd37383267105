"""A labelled set of small pictures in memory, read from an image folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mpcvit.data.class_folders import find_pictures, read_files
from mpcvit.errors import ShapeMismatch
from mpcvit.picture import Fit, read_picture
from mpcvit.picture.form import PixelArray


@dataclass(frozen=True, repr=False)
class ImageSet:
    r"""Pictures and labels.

    Attributes:
        images: uint8 [count, height, width, 3], RGB; for models of other inputs uint8 or uint16 [count, \*shape of the
            input].
        labels: int64 [count], indices into ``classes``.
        classes: label names; a folder's are sorted.
        unreadable: files of the folder that were left out, as they cannot be read.
        notices: what should be known of how pictures were read, such as that some are animations; sentences.
    """

    images: PixelArray
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    unreadable: int = 0
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: npt.NDArray[np.int64]) -> ImageSet:
        """Return the pictures at ``indices``, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def spread(self, count: int) -> ImageSet:
        """Return ``count`` pictures at even distances, so that a folder sorted by class gives all classes."""
        count = min(count, len(self))
        return self.subset(np.arange(count, dtype=np.int64) * len(self) // count)

    def split(self, count: int, seed: int) -> tuple[ImageSet, ImageSet]:
        """Return (the rest, ``count`` pictures drawn at random under ``seed``)."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.subset(order[count:]), self.subset(order[:count])


def load_folder(
    folder: Path, *, size: tuple[int, int] | None = None, fit: Fit | None = None, skip_unreadable: bool = False
) -> ImageSet:
    """Return the pictures in ``folder/<class>/**``, in sorted order; hidden files and folders are ignored.

    Args:
        size: (height, width) that the pictures must have; None for any that they have in common.
        fit: what to do with pictures of another size; None refuses them.
        skip_unreadable: leave files out that cannot be read as pictures, and count them.

    Raises:
        InputError: no such folder, a class without a picture, or a file that is no picture; the message names it.
        ShapeMismatch: the pictures differ in size, or from ``size``.
    """
    found = find_pictures(folder)
    read = read_files(
        found.files,
        lambda path: read_picture(path, size, fit),
        lambda picture: picture.pixels,
        skip_unreadable=skip_unreadable,
    )
    sizes = Counter(pixels.shape[:2] for pixels in read.results)
    if len(sizes) != 1:
        common = ", ".join(f"{count} of {width} x {height}" for (height, width), count in sizes.most_common(3))
        raise ShapeMismatch(
            f"pictures of {len(sizes)} different sizes in {folder}: {common}{' and others' if len(sizes) > 3 else ''}",
            expected="pictures of one size (width x height)",
            remedy="Resize them to the model's input size first.",
        )
    labels = np.array(read.labels, dtype=np.int64)
    return ImageSet(np.stack(read.results), labels, found.classes, read.unreadable, read.notices)
