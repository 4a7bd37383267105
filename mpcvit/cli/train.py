"""``mpcvit train``: run a recipe.

``python -m mpcvit.cli.train`` is the same on machines that only train: it needs neither grpc nor crypten.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_notices, print_table
from mpcvit.cli.picture_options import SkipUnreadable
from mpcvit.errors import ConfigError
from mpcvit.store.out_folder import check_folder

if TYPE_CHECKING:
    from mpcvit.train.config import TrainConfig


def _list(wanted: bool) -> None:
    """Print all recipes and stop."""
    if not wanted:
        return
    from mpcvit.train.recipes import RECIPES

    firsts = ((name, (recipe.__doc__ or "").partition("\n")[0]) for name, recipe in RECIPES.items())
    print_table("recipes", [(name, re.sub(r":func:|`", "", first)) for name, first in firsts])
    raise typer.Exit


@command
def train(
    recipe: Annotated[str | None, typer.Argument(help="Name of a recipe (see --list).")] = None,
    *,
    data: Annotated[Path, typer.Option(help="Image folder with a 'train' part.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, log and model. An existing run continues.")],
    config_file: Annotated[
        Path | None, typer.Option("--config", help="YAML or JSON file of fields over the recipe's, or of all fields.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="One field over both, e.g. sam_rho=0.05.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Trained model to learn from: its folder, or a shipped one's name.")
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(help="A (compressed) model to start from: its folder, or a shipped one's name."),
    ] = None,
    teacher_logits: Annotated[
        Path | None, typer.Option(help="Folder of a teacher's answers, for the objective stored_logits.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, ...")] = "auto",
    workers: Annotated[int, typer.Option(help="Number of processes that load pictures.")] = 1,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Shorten the run to this many epochs, in proportion.")
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    list_recipes: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list, help="List recipes and exit.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Train a model by a named recipe, or by a file; an interrupted run continues where it stopped.

    With several GPUs: torchrun --nproc-per-node 4 -m mpcvit.cli train ...
    """
    from mpcvit import zoo
    from mpcvit.data.catalogue import data_set
    from mpcvit.data.class_folders import check_parts_agree
    from mpcvit.data.image_set import load_folder
    from mpcvit.train.checkpoint import check_own
    from mpcvit.train.device import require_device
    from mpcvit.train.replica import is_first
    from mpcvit.train.run import train as run

    config = _configuration(recipe, config_file, settings or [], started=start_from is not None)
    check_folder(out)
    check_own(out)
    require_device(device)
    teacher, start_from = (None if model is None else zoo.folder(model) for model in (teacher, start_from))
    facts = {}
    if epochs is not None and config.shortened(epochs) != config:
        facts["shortened_from"] = config.total_epochs
        config = config.shortened(epochs)
    check_parts_agree(data)
    images = load_folder(data / "train", skip_unreadable=skip_unreadable)
    data_set(config.data).check(images)
    if not json_output and is_first():
        print_notices(images.notices)
    run(
        config,
        images,
        out,
        teacher=teacher,
        start_from=start_from,
        teacher_logits=teacher_logits,
        device=device,
        workers=workers,
        facts=facts,
    )
    if not is_first():
        return
    if json_output:
        done = {"recipe": recipe, "model": config.model, "folder": str(out), "epochs": config.total_epochs}
        print_json({**done, "unreadable": images.unreadable, "notices": list(images.notices)})
    else:
        print_table("trained", [("recipe", recipe or "none"), ("model", config.model), ("folder", str(out))])


def _configuration(recipe: str | None, file: Path | None, settings: list[str], *, started: bool) -> TrainConfig:
    """Return what is to be trained, and how; ``started``: from a model whose architecture is the one."""
    from mpcvit.train.config_document import read_config
    from mpcvit.train.recipes import RECIPES

    if recipe not in RECIPES and not (recipe is None and file is not None):
        raise ConfigError(
            "no recipe" if recipe is None else f"recipe '{recipe}'",
            expected=f"one of {', '.join(sorted(RECIPES))}, or a configuration of your own",
            remedy="Correct the name, or give a file with --config.",
        )
    base = None if recipe is None else RECIPES[recipe]()
    config = read_config(base, file, settings)
    if started and config.architecture != (None if base is None else base.architecture):
        raise ConfigError(
            "an architecture, and a model to start from",
            expected="one of them: a run that starts from a model keeps its architecture, but for token hooks",
            remedy="Leave 'architecture' out; or give the model with --teacher and --set start=teacher, which copies "
            "the weights that fit.",
        )
    return config


if __name__ == "__main__":
    typer.run(train)
