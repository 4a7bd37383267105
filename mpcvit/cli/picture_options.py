"""Options of commands that read pictures."""

from __future__ import annotations

from typing import Annotated

import typer

FitOption = Annotated[
    str,
    typer.Option(
        "--fit",
        help="model: resize pictures of another size and crop their centre; make colours and depth the model's; take "
        "frames or slices at even distances. Default: refuse them.",
    ),
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be read as pictures, and count them.")
]
