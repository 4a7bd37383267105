"""``mpcvit data``: fetch data sets.

``python -m mpcvit.cli.data`` is the same on machines that only train: it needs neither grpc nor crypten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, literal, print_json, progress_console
from mpcvit.store.out_folder import check_folder

data_app = typer.Typer(help="Fetch data sets.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder to write: <split>/<class>/*.")]


@data_app.callback()
def _data() -> None:
    """Fetch data sets."""


@data_app.command("cifar10")
@command
def cifar10(folder: Folder, json_output: Json = False) -> None:
    """Download CIFAR-10 (170 MB) and unpack it as an image folder."""
    from mpcvit.data.cifar10 import download_cifar10

    check_folder(folder, "FOLDER")
    download_cifar10(folder)
    _done("CIFAR-10", folder, json_output)


@data_app.command("cifar100")
@command
def cifar100(folder: Folder, json_output: Json = False) -> None:
    """Download CIFAR-100 (169 MB) and unpack it as an image folder."""
    from mpcvit.data.cifar100 import download_cifar100

    check_folder(folder, "FOLDER")
    download_cifar100(folder)
    _done("CIFAR-100", folder, json_output)


@data_app.command("tinyimagenet")
@command
def tinyimagenet(folder: Folder, json_output: Json = False) -> None:
    """Download Tiny-ImageNet (248 MB) and unpack it as an image folder; its validation part becomes 'test'."""
    from mpcvit.data.tinyimagenet import download_tinyimagenet

    check_folder(folder, "FOLDER")
    download_tinyimagenet(folder)
    _done("Tiny-ImageNet", folder, json_output)


def _done(name: str, folder: Path, json_output: bool) -> None:
    if json_output:
        print_json({"folder": str(folder)})
    else:
        progress_console.print(literal(f"{name} is in {folder}"))


if __name__ == "__main__":
    data_app()
