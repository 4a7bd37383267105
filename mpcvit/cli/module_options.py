"""Options that name a model which comes from no folder: of timm's, or any module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Timm = Annotated[str | None, typer.Option(help="A backbone by timm's name, e.g. deit_tiny_patch16_224.")]
Module = Annotated[
    str | None,
    typer.Option(
        help="Any PyTorch module, as package.file:factory or FILE.py:factory, which takes nothing. Its code runs."
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option(
        help="With --timm or --module: safetensors file of weights. Default: random, or what the factory makes."
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(help="With --timm or --module: side of the pictures in pixels, if not what the model says."),
]
Mean = Annotated[str | None, typer.Option(help="With --module: mean of pixels in [0, 1], by channel: 0.5,0.5,0.5.")]
Std = Annotated[str | None, typer.Option(help="With --module: deviation of pixels, as --mean.")]
