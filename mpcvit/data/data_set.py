"""What a data set is, apart from its pictures."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Facts that a model and its training depend on.

    Attributes:
        name: as the command line writes it.
        classes: number of labels.
        image_size: side of the square pictures, pixels.
        mean, std: of the training pixels per channel (RGB), as shares of 255.
    """

    name: str
    classes: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def check(self, images: ImageSet) -> None:
        """Refuse pictures of another data set.

        Raises:
            InputError: another number of classes, or another size.
        """
        size = images.images.shape[1:3]
        if len(images.classes) != self.classes or size != (self.image_size, self.image_size):
            raise InputError(
                f"{len(images.classes)} classes of {size[0]} x {size[1]} pictures",
                expected=f"{self.name}: {self.classes} classes of {self.image_size} x {self.image_size} pictures",
                remedy=f"Point --data at an image folder of {self.name}; 'mpcvit data {self.name}' makes one.",
            )
