"""CIFAR-100 (Krizhevsky 2009): 32 x 32 pictures, 100 classes, as an image folder on disk."""

from __future__ import annotations

from pathlib import Path

from mpcvit.compat import prepare_torchvision
from mpcvit.data.data_set import DataSet
from mpcvit.data.image_folder import write_parts

#: Mean and deviation as MPCViT trains with.
CIFAR100 = DataSet(
    name="cifar100", classes=100, image_size=32, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)
)


def download_cifar100(root: Path) -> None:
    """Fetch CIFAR-100 with torchvision (169 MB, checksum verified) and write it as ``root/<split>/<class>/*.png``.

    Raises:
        InputError: it cannot be fetched or written, or what came is damaged.
    """
    prepare_torchvision()
    from torchvision import datasets

    write_parts(lambda train: datasets.CIFAR100(str(root / "download"), train=train, download=True), "CIFAR-100", root)
