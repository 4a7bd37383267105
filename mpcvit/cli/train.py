"""``mpcvit train``: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_table
from mpcvit.errors import ConfigError


@command
def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe in mpcvit.train.recipes.")],
    data: Annotated[Path, typer.Option(help="Image folder with a 'train' part.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, log and model; continued if it exists.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that load pictures.")] = 1,
    json_output: Json = False,
) -> None:
    """Train a model by a named recipe; an interrupted run continues where it stopped."""
    from mpcvit.data.cifar10 import load_cifar10
    from mpcvit.train.recipes import RECIPES
    from mpcvit.train.trainer import train as run

    if recipe not in RECIPES:
        raise ConfigError(
            f"recipe '{recipe}'", expected=f"one of {', '.join(sorted(RECIPES))}", remedy="Correct the name."
        )
    config = RECIPES[recipe]()
    run(config, load_cifar10(data, "train"), out, device=device, workers=workers)
    if json_output:
        print_json({"recipe": recipe, "model": config.model, "folder": str(out), "epochs": config.epochs})
    else:
        print_table("trained", [("recipe", recipe), ("model", config.model), ("folder", str(out))])
