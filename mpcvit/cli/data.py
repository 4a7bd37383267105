"""``mpcvit data``: fetch data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, progress_console

data_app = typer.Typer(help="Fetch data sets.", no_args_is_help=True)


@data_app.callback()
def _data() -> None:
    """Fetch data sets."""


@data_app.command("cifar10")
@command
def cifar10(
    folder: Annotated[Path, typer.Argument(help="Becomes an image folder: <split>/<class>/*.png.")],
    json_output: Json = False,
) -> None:
    """Download CIFAR-10 (170 MB) and unpack it as an image folder."""
    from mpcvit.data.cifar10 import download_cifar10

    download_cifar10(folder)
    if json_output:
        print_json({"folder": str(folder)})
    else:
        progress_console.print(f"CIFAR-10 is in {folder}")
