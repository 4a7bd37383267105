"""``mpcvit report``: models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mpcvit.cli.output import Json, command, print_grid, print_json, print_notices, progress_console
from mpcvit.cli.picture_options import FitOption, SkipUnreadable
from mpcvit.store.out_folder import check_folder

if TYPE_CHECKING:
    from mpcvit.data.image_set import ImageSet

_Models = Annotated[list[str], typer.Argument(help="Shipped models' names, or exported models' folders.")]
Out = Annotated[Path, typer.Option(help="Folder of measurements and report. Existing measurements are not repeated.")]
Limit = Annotated[int, typer.Option(min=0, help="Number of pictures to score, spread over the classes; 0 for all.")]


class _LatencyUnlessNamed(TyperGroup):
    """``mpcvit report MODEL`` is ``mpcvit report latency MODEL``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["latency", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


report_app = typer.Typer(cls=_LatencyUnlessNamed, help="Compare models side by side.", no_args_is_help=True)


@report_app.command("latency")
@command
def latency(
    models: _Models,
    out: Out,
    data: Annotated[
        Path | None,
        typer.Option(help="Image folder: <class>/*, or with a 'test' part. Without it, accuracy is not measured."),
    ] = None,
    limit: Limit = 0,
    fit: FitOption = "",
    skip_unreadable: SkipUnreadable = False,
    network: Annotated[
        list[str] | None,
        typer.Option(help="Network: loopback, lan or wan; repeatable. lan and wan are emulated and need root."),
    ] = None,
    turns: Annotated[
        int,
        typer.Option(
            min=1, help="Number of turns, each of which times all models one after another; more turns add to a report."
        ),
    ] = 2,
    runs: Annotated[int, typer.Option(min=1, help="Timed inferences per model and network in each turn.")] = 3,
    json_output: Json = False,
) -> None:
    """Measure accuracy (float, reference) and latency of several models; write a table, a plot and a page."""
    from mpcvit import zoo
    from mpcvit.link_profile import link_profile
    from mpcvit.measure.accuracy import Executor
    from mpcvit.measure.record import score, time_in_turns
    from mpcvit.measure.scored_pictures import scored_pictures
    from mpcvit.reports.comparison import PAGE_FILE, caption, table, write

    networks = [link_profile(name).name for name in (network or ["loopback"])]
    check_folder(out)
    folders = [zoo.folder(model) for model in models]
    images = [] if data is None else [scored_pictures(folder, data, limit, fit, skip_unreadable) for folder in folders]
    with progress_console.status("") as status:
        for folder, pictures in zip(folders, images, strict=False):
            score(folder, out, pictures, (Executor.FLOAT, Executor.REFERENCE), status.update)
        measured = time_in_turns(folders, out, networks, turns=turns, runs=runs, say=status.update)
    write(measured, out)
    if json_output:
        print_json({"folder": str(out), "models": [asdict(model) for model in measured], **_read(images)})
        return
    print_notices(_read(images)["notices"])
    print_grid(f"also in {out / PAGE_FILE}", *table(measured), caption(measured))


@report_app.command("accuracy")
@command
def accuracy(
    models: _Models,
    data: Annotated[Path, typer.Option(help="Image folder: <class>/*, or with a 'test' part.")],
    out: Out,
    limit: Limit = 0,
    secure: Annotated[int, typer.Option(min=0, help="Pictures to score on shares, by real parties; 0 for none.")] = 0,
    fit: FitOption = "",
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> None:
    """Score models in float, quantized, in the integer reference and on shares; write a table, a plot and a page."""
    from mpcvit import zoo
    from mpcvit.measure.record import score_all
    from mpcvit.measure.scored_pictures import scored_pictures
    from mpcvit.reports.accuracies import PAGE_FILE, table, write

    check_folder(out)
    folders = [zoo.folder(model) for model in models]
    images = [scored_pictures(folder, data, limit, fit, skip_unreadable) for folder in folders]
    with progress_console.status("") as status:
        measured = score_all(folders, out, images, secure, status.update, lambda so_far: write(so_far, out))
    if json_output:
        print_json({"folder": str(out), "models": [asdict(model) for model in measured], **_read(images)})
        return
    print_notices(_read(images)["notices"])
    print_grid(f"also in {out / PAGE_FILE}", *table(measured))


def _read(images: Sequence[ImageSet]) -> dict[str, Any]:
    """Return what is to be said of pictures that were read once for each model."""
    notices = dict.fromkeys(notice for one in images for notice in one.notices)
    return {"unreadable": max((one.unreadable for one in images), default=0), "notices": list(notices)}
