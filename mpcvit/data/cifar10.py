"""CIFAR-10 (Krizhevsky 2009): 32 x 32 pictures, 10 classes, as an image folder on disk."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import track

from mpcvit.compat import prepare_torchvision
from mpcvit.data.image_set import ImageSet, load_folder
from mpcvit.errors import InputError

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


def load_cifar10(root: Path, split: str) -> ImageSet:
    """The ``train`` or ``test`` part of the CIFAR-10 image folder at ``root``."""
    return load_folder(root / split)


def download_cifar10(root: Path) -> None:
    """Fetch CIFAR-10 with torchvision (170 MB, checksum verified) and write it as ``root/<split>/<class>/*.png``.

    Raises:
        InputError: it cannot be fetched or written, or what came is damaged.
    """
    prepare_torchvision()
    from torchvision.datasets import CIFAR10

    for split in ("train", "test"):
        try:
            source = CIFAR10(str(root / "download"), train=split == "train", download=True)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"no CIFAR-10: {error}",
                expected="a connection to its home page, or its archive in 'download' under the folder",
                remedy="Check the connection and the disk, and run the command again.",
            ) from error
        for name in source.classes:
            (root / split / name).mkdir(parents=True, exist_ok=True)
        for number in track(range(len(source)), f"writing {split}", console=Console(stderr=True)):
            picture, label = source[number]
            picture.save(root / split / source.classes[label] / f"{number:05d}.png")
