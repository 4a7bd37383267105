"""``mpcvit compress``: make a trained model smaller."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.out_folder import make_folder
from mpcvit.cli.output import Json, command, print_grid, print_json, print_table, progress_console


def _list(wanted: bool) -> None:
    """Print all passes with their settings and stop."""
    if not wanted:
        return
    from mpcvit.compress.passes import PASSES, settings_of

    rows = []
    for name, kind in PASSES.items():
        first = re.sub(r":\w+:|`", "", (kind.__doc__ or "").partition("\n")[0])
        rows.append((name, f"{first}\n[dim]{' '.join(settings_of(kind))}[/]"))
    print_table("passes", rows)
    raise typer.Exit


@command
def compress(
    trained: Annotated[Path, typer.Argument(help="Folder with config.json and model.safetensors, or a shipped model.")],
    name: Annotated[str, typer.Argument(metavar="PASS", help="Name of a pass (see --list).")],
    data: Annotated[Path, typer.Option(help="Image folder with a 'train' part, for calibration.")],
    out: Annotated[Path, typer.Option(help="Folder for the smaller model.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[SETTING=VALUE]...", help="Settings of the pass.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Calibration pictures.")] = 256,
    network: Annotated[str, typer.Option(help="Whose plan the costs are of: loopback, lan or wan.")] = "wan",
    factors: Annotated[
        str, typer.Option(help="What these count of layers of low rank: merged or kept factors.")
    ] = "merged",
    list_passes: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list, help="List passes and settings, and stop.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Compress a trained model by one pass, and say what that does to the cost of a secure inference.

    Most passes want training afterwards: mpcvit train cifar10_finetune --start-from OUT --teacher TRAINED ...
    """
    from mpcvit import zoo
    from mpcvit.cli.export_source import Choice, open_source
    from mpcvit.compress import compress as run
    from mpcvit.compress.effect import effect
    from mpcvit.compress.history import write_history
    from mpcvit.compress.passes import make_pass
    from mpcvit.export.factors import parse_factors
    from mpcvit.models.files import load_model, save_model
    from mpcvit.program.objective import objective

    chosen = make_pass(name, settings or [])
    form = parse_factors(factors)
    make_folder(out)
    trained = zoo.folder(trained)
    model = load_model(trained)
    source = open_source(Choice(trained=trained, data=data, images=images))
    with progress_console.status(f"{name} on {images} pictures") as status:
        smaller = run(model, chosen, source.images, lambda line: status.update(f"{name}: {line}"))
        save_model(smaller, out)
        write_history(chosen, len(source.images), trained, out)
        if source.description is not None:  # how its pictures are prepared
            source.description.save(out)
        status.update("costs before and after")
        change = effect(model, smaller, source.images, objective=objective(network), factors=form)
    if json_output:
        print_json({"pass": chosen.to_json(), "folder": str(out), **change.to_json()})
        return
    before, left = asdict(change.before), change.shares()
    rows = [
        [fact.replace("_", " "), f"{before[fact]:,}", f"{after:,}", f"{100 * (left[fact] - 1):+.1f} %"]
        for fact, after in asdict(change.after).items()
    ]
    print_grid(f"{name}: {out}", ["one inference", "before", "after", "change"], rows, f"The plan for {network}.")
