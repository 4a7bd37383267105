"""Writing a data set of torchvision as an image folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from mpcvit.errors import InputError


def write_parts(open_part: Callable[[bool], Any], name: str, root: Path) -> None:
    """Write ``root/<train or test>/<class>/<number>.png``.

    Args:
        open_part: gives torchvision's training part for True, its test part for False; it may download.
        name: of the data set, for messages.

    Raises:
        InputError: it cannot be fetched or written, or what came is damaged.
    """
    for split in ("train", "test"):
        try:
            source = open_part(split == "train")
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"no {name}: {error}",
                expected="a connection to its home page, or its archive in 'download' under the folder",
                remedy="Check the connection and the disk, and run the command again.",
            ) from error
        for label in source.classes:
            (root / split / label).mkdir(parents=True, exist_ok=True)
        for number in track(range(len(source)), f"writing {split}", console=Console(stderr=True)):
            picture, label = source[number]
            picture.save(root / split / source.classes[label] / f"{number:05d}.png")
