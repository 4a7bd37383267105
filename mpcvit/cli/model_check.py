"""``mpcvit model check``: is a model right for every picture?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcvit.cli.output import Json, command, print_grid, print_json, print_table, progress_console
from mpcvit.store.out_folder import check_folder, written

if TYPE_CHECKING:
    from mpcvit.check.check import Checked

#: Gates that the table shows.
_ROWS = 12
#: Exit status where a picture left a range or came out wrong.
_FAILED = 5


@command
def check(
    model: Annotated[str, typer.Argument(help="A shipped model's name, or an exported model's folder.")],
    pictures: Annotated[int, typer.Option(min=1, help="Number of pictures from the families of hard ones.")] = 2000,
    attack: Annotated[int, typer.Option(min=0, help="Gradient ascents on the gates that use most of their range.")] = 0,
    data: Annotated[
        Path | None, typer.Option(help="Image folder with photographs for the families. Default: a shipped picture.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Largest accepted difference of a logit from the float model's.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the pictures.")] = 0,
    worst: Annotated[Path | None, typer.Option(help="Folder to write the worst pictures to, as PNG files.")] = None,
    json_output: Json = False,
) -> None:
    """Run hard pictures, and pictures made to be hard, through what the secure engine computes.

    Stripes, text, codes, noise, extremes and the like, then gradient ascent on what the gates read. Says how much of
    its range every gate used, and how far logits are from the float model's. Exit status 5 if a picture left a range,
    a logit is off by more than the tolerance, or a label is not the float model's.
    """
    from rich.progress import Progress, TaskID

    from mpcvit import zoo
    from mpcvit.check.check import Checker
    from mpcvit.check.models import real_model
    from mpcvit.check.photographs import photographs
    from mpcvit.store.exported import ModelFolder

    if worst is not None:
        check_folder(worst, "--worst")
    folder = zoo.folder(model)
    exported = ModelFolder.load(folder)
    size = exported.picture_size
    found = photographs(data, size)
    with Progress(console=progress_console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        checked = Checker(exported, real_model(folder), tolerance).check(pictures, attack, found, seed, progress)
    failed = not checked.passed(tolerance)
    if worst is not None:
        with written(worst) as fresh:
            checked.save_worst(fresh)
    if json_output:
        print_json({"model": folder.name, "passed": not failed, "tolerance": tolerance, **checked.to_json()})
    else:
        _print(folder.name, checked, failed)
    if failed:
        raise typer.Exit(_FAILED)


def _print(name: str, checked: Checked, failed: bool) -> None:
    rows = [
        [
            edge.node,
            edge.op,
            "largest" if edge.upper else "least",
            f"{edge.value:.4g}",
            f"{edge.bound:.4g}",
            f"{100 * edge.share:.1f} %",
        ]
        for edge in checked.edges[:_ROWS]
    ]
    print_grid("gates that used most of their range", ["gate", "kind", "end", "value", "bound", "used"], rows)
    facts = [
        ("pictures", f"{checked.pictures:,} of {len(checked.families)} families"),
        ("ranges", checked.ranges),
        ("pictures that left a range", f"{len(checked.outside):,}"),
        ("largest difference of a logit to float", f"{checked.difference:.4f}"),
        ("labels that are not float's, ties apart", f"{checked.disagreeing:,}"),
        ("result", "failed" if failed else "passed"),
    ]
    if checked.outside:
        facts.insert(3, ("the first that did", checked.outside[0].family))
    print_table(f"{name} on hard pictures", facts)
