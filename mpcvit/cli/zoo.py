"""``mpcvit zoo``: the models that ship with the package."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from mpcvit.cli.output import Json, command, print_grid, print_json

zoo_app = typer.Typer(help="The models that ship with the package.", no_args_is_help=True)


@zoo_app.command("list")
@command
def list_models(json_output: Json = False) -> None:
    """List all shipped models with their accuracy and cost."""
    from mpcvit import zoo
    from mpcvit.measure.record import RESULTS_FILE, Measured
    from mpcvit.reports.comparison import caption, table

    models = [Measured.load(zoo.folder(name) / RESULTS_FILE) for name in zoo.names()]
    if json_output:
        print_json({"default": zoo.DEFAULT, "models": [asdict(model) for model in models]})
        return
    print_grid(f"shipped models; default: {zoo.DEFAULT}", *table(models), caption(models))


@zoo_app.command("show")
@command
def show(
    model: Annotated[str, typer.Argument(help="A shipped model's name. Default: the default model.")] = "",
    json_output: Json = False,
) -> None:
    """Show a shipped model's card: what it is, how it was trained, what it costs, and its limits."""
    from mpcvit import zoo
    from mpcvit.measure.record import RESULTS_FILE, Measured

    folder = zoo.folder(model or zoo.DEFAULT)
    card = (folder / "card.md").read_text() if (folder / "card.md").exists() else ""
    if json_output:
        results = folder / RESULTS_FILE
        measured = asdict(Measured.load(results)) if results.exists() else None
        print_json({"model": folder.name, "folder": str(folder), "card": card, "measured": measured})
    elif card:
        Console().print(Markdown(card))
    else:
        Console().print(f"{folder} has no card")
