"""Tiny-ImageNet (Stanford CS231n): 64 x 64 pictures, 200 classes of ImageNet, as an image folder on disk."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from rich.console import Console
from rich.progress import track

from mpcvit.compat import prepare_torchvision
from mpcvit.data.data_set import DataSet
from mpcvit.errors import InputError

#: Mean and deviation as MPCViT trains with.
TINYIMAGENET = DataSet(
    name="tinyimagenet", classes=200, image_size=64, mean=(0.480, 0.448, 0.397), std=(0.272, 0.265, 0.274)
)

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
ARCHIVE = "tiny-imagenet-200.zip"
#: Of the 248,100,043 bytes at ``URL``. There is no official digest: this is the one that public loaders check, such as
#: Avalanche's. MD5 finds damage; it does not stop somebody who forges an archive.
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"

_TOP = PurePosixPath("tiny-imagenet-200")
_CLASS = re.compile(r"n\d{8}")  # a WordNet number, and nothing that leads out of the folder


def download_tinyimagenet(root: Path, *, md5: str = MD5) -> None:
    """Fetch Tiny-ImageNet (248 MB) and write it as ``root/<split>/<class>/*.JPEG``, classes being WordNet numbers.

    Its own test part has no labels. What it calls validation becomes ``test``, sorted into classes by its annotations.

    Args:
        root: where; ``root/download`` keeps the archive, or holds it already.
        md5: digest that the archive must have.

    Raises:
        InputError: it cannot be fetched or written, or what came is damaged.
    """
    prepare_torchvision()
    from torchvision.datasets.utils import download_url

    try:
        download_url(URL, str(root / "download"), ARCHIVE, md5)
        with ZipFile(root / "download" / ARCHIVE) as archive:
            places = _places(archive)
            for name, place in track(places.items(), "writing", console=Console(stderr=True)):
                target = root.joinpath(*place)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    except (OSError, RuntimeError, BadZipFile, KeyError) as error:
        raise InputError(
            f"no Tiny-ImageNet: {error}",
            expected="a connection to its home page, or its archive in 'download' under the folder",
            remedy="Check the connection and the disk, and run the command again.",
        ) from error


def _places(archive: ZipFile) -> dict[str, tuple[str, str, str]]:
    """Return (split, class, file) of every labelled picture in ``archive``, by its name there.

    Training pictures lie in ``train/<class>/images``; a line of ``val_annotations.txt`` is file, class and a box.
    """
    lines = archive.read(str(_TOP / "val" / "val_annotations.txt")).decode().splitlines()
    classes = dict(line.split("\t")[:2] for line in lines if line)
    places = {}
    for name in archive.namelist():
        path = PurePosixPath(name)
        if path.match("train/*/images/*.JPEG"):
            places[name] = ("train", path.parts[-3], path.name)
        elif path.match("val/images/*.JPEG"):
            places[name] = ("test", classes[path.name], path.name)
    strange = {label for _, label, _ in places.values() if not _CLASS.fullmatch(label)}
    if strange or not places:
        raise BadZipFile(f"classes {sorted(strange)}" if strange else "no pictures in the archive")
    return places
