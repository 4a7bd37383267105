"""``mpcvit compress``: make a trained model smaller."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from mpcvit.cli.output import (
    Json,
    command,
    print_grid,
    print_json,
    print_notices,
    print_table,
    progress_console,
)
from mpcvit.cli.picture_options import SkipUnreadable
from mpcvit.store.out_folder import check_result, written


def _list(wanted: bool) -> None:
    """Print all passes with their settings and stop."""
    if not wanted:
        return
    from mpcvit.compress.passes import PASSES
    from mpcvit.compress.settings import settings_of

    rows = []
    for name, kind in PASSES.items():
        first = re.sub(r":\w+:|`", "", (kind.__doc__ or "").partition("\n")[0])
        rows.append((name, Text.assemble(first, "\n", (" ".join(settings_of(kind)), "dim"))))
    print_table("passes", rows)
    raise typer.Exit


@command
def compress(
    trained: Annotated[Path, typer.Argument(help="Folder with config.json and model.safetensors, or a shipped model.")],
    name: Annotated[str, typer.Argument(metavar="PASS", help="Name of a pass (see --list).")],
    data: Annotated[Path, typer.Option(help="Image folder with a 'train' part, for calibration.")],
    out: Annotated[Path, typer.Option(help="Folder to write the smaller model to.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[SETTING=VALUE]...", help="Settings of the pass.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Number of calibration pictures.")] = 256,
    network: Annotated[str, typer.Option(help="Objective of the plan to price: loopback, lan or wan.")] = "wan",
    factors: Annotated[str, typer.Option(help="How to count layers of low rank: merged or kept factors.")] = "merged",
    skip_unreadable: SkipUnreadable = False,
    list_passes: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list, help="List passes and their settings, and exit.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Compress a trained model by one pass, and say what that does to the cost of a secure inference.

    Most passes want training afterwards: mpcvit train cifar10_finetune --start-from OUT --teacher TRAINED ...
    """
    from mpcvit import zoo
    from mpcvit.compress import compress as run
    from mpcvit.compress.settings import make_pass
    from mpcvit.engines.masked.objective import objective
    from mpcvit.export.factors import parse_factors
    from mpcvit.export.source import SourceChoice, open_source
    from mpcvit.pricing.footprint import effect
    from mpcvit.store.history import HISTORY_FILE, write_history
    from mpcvit.store.trained import load_model, save_model

    chosen = make_pass(name, settings or [])
    form, goal = parse_factors(factors), objective(network)
    check_result(out, HISTORY_FILE)
    trained = zoo.folder(trained)
    model = load_model(trained)
    source = open_source(SourceChoice(trained=trained, data=data, images=images, skip_unreadable=skip_unreadable))
    with progress_console.status(f"{name} on {images} pictures") as status:
        smaller = run(model, chosen, source.images, lambda line: status.update(f"{name}: {line}"))
        status.update("costs before and after")
        change = effect(model, smaller, source.images, objective=goal, factors=form, normalisation=source.normalisation)
        with written(out) as folder:
            save_model(smaller, folder)
            write_history(chosen, len(source.images), trained, folder)
            if source.description is not None:  # how its pictures are prepared
                source.description.save(folder)
    if json_output:
        print_json({"pass": chosen.to_json(), "folder": str(out), **change.to_json(), **source.read})
        return
    print_notices(source.notices)
    before, left = asdict(change.before), change.shares()
    rows = [
        [fact.replace("_", " "), f"{before[fact]:,}", f"{after:,}", f"{100 * (left[fact] - 1):+.1f} %"]
        for fact, after in asdict(change.after).items()
    ]
    print_grid(f"{name}: {out}", ["one inference", "before", "after", "change"], rows, f"The plan for {network}.")
