"""CIFAR-10 (Krizhevsky 2009): 32 x 32 pictures, 10 classes, as an image folder on disk."""

from __future__ import annotations

from pathlib import Path

from mpcvit.compat import prepare_torchvision
from mpcvit.data.data_set import DataSet
from mpcvit.data.image_folder import write_parts
from mpcvit.data.image_set import ImageSet, load_folder

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)
CIFAR10 = DataSet(name="cifar10", classes=10, image_size=32, mean=CIFAR10_MEAN, std=CIFAR10_STD)


def load_cifar10(root: Path, split: str) -> ImageSet:
    """Return the ``train`` or ``test`` part of the CIFAR-10 image folder at ``root``."""
    return load_folder(root / split)


def download_cifar10(root: Path) -> None:
    """Fetch CIFAR-10 with torchvision (170 MB, checksum verified) and write it as ``root/<split>/<class>/*.png``.

    Raises:
        InputError: it cannot be fetched or written, or what came is damaged.
    """
    prepare_torchvision()
    from torchvision import datasets

    write_parts(lambda train: datasets.CIFAR10(str(root / "download"), train=train, download=True), "CIFAR-10", root)
