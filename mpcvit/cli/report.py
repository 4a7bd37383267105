"""``mpcvit report``: models side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mpcvit.cli.output import Json, command, print_grid, print_json, progress_console

if TYPE_CHECKING:
    from mpcvit.data.image_set import ImageSet

Models = Annotated[list[str], typer.Argument(help="Shipped models' names, or exported models' folders.")]
Out = Annotated[Path, typer.Option(help="Folder of measurements and report; what is there is not repeated.")]
Limit = Annotated[int, typer.Option(min=0, help="Pictures to score, spread over the classes; 0 is all.")]


class _LatencyUnlessNamed(TyperGroup):
    """``mpcvit report MODEL`` is ``mpcvit report latency MODEL``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["latency", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


report_app = typer.Typer(cls=_LatencyUnlessNamed, help="Models side by side.", no_args_is_help=True)


@report_app.command("latency")
@command
def latency(
    models: Models,
    out: Out,
    data: Annotated[
        Path | None, typer.Option(help="Image folder: <class>/*, or with a 'test' part. Without it nothing is scored.")
    ] = None,
    limit: Limit = 0,
    network: Annotated[
        list[str] | None, typer.Option(help="loopback, lan or wan, once for each; emulated ones need root.")
    ] = None,
    turns: Annotated[
        int, typer.Option(min=1, help="Times that all models are timed one after another; more turns add to a report.")
    ] = 2,
    runs: Annotated[int, typer.Option(min=1, help="Timed inferences per model and network in a turn.")] = 3,
    json_output: Json = False,
) -> None:
    """Measure accuracy (float, reference) and latency of several models; write a table, a plot and a page."""
    from mpcvit import zoo
    from mpcvit.bench.accuracy import Executor
    from mpcvit.bench.comparison import PAGE_FILE, caption, table, write
    from mpcvit.bench.measured import score, time_in_turns
    from mpcvit.link_profile import link_profile

    networks = [link_profile(name).name for name in (network or ["loopback"])]
    folders = [zoo.folder(model) for model in models]
    images = None if data is None else _pictures(data, limit)
    with progress_console.status("") as status:
        if images is not None:
            for folder in folders:
                score(folder, out, images, (Executor.FLOAT, Executor.REFERENCE), status.update)
        measured = time_in_turns(folders, out, networks, turns=turns, runs=runs, say=status.update)
    write(measured, out)
    if json_output:
        print_json({"folder": str(out), "models": [asdict(model) for model in measured]})
        return
    print_grid(f"also in {out / PAGE_FILE}", *table(measured), caption(measured))


@report_app.command("accuracy")
@command
def accuracy(
    models: Models,
    data: Annotated[Path, typer.Option(help="Image folder: <class>/*, or with a 'test' part.")],
    out: Out,
    limit: Limit = 0,
    secure: Annotated[int, typer.Option(min=0, help="Pictures to score on real parties' shares; 0 for none.")] = 0,
    json_output: Json = False,
) -> None:
    """Score models in float, quantized, in the integer reference and on shares; write a table, a plot and a page."""
    from mpcvit import zoo
    from mpcvit.bench.accuracies import PAGE_FILE, table, write
    from mpcvit.bench.accuracy import Executor
    from mpcvit.bench.measured import score
    from mpcvit.quantize.files import is_quantized

    folders = [zoo.folder(model) for model in models]
    images = _pictures(data, limit)
    measured = []
    with progress_console.status("") as status:
        for folder in folders:
            quantized = (Executor.QUANTIZED,) if is_quantized(folder) else ()
            parts = [((Executor.FLOAT, *quantized, Executor.REFERENCE), images)]
            parts += [((Executor.SECURE,), images.spread(secure))] if secure else []
            for executors, pictures in parts:
                one = score(folder, out, pictures, executors, status.update)
            measured.append(one)
            write(measured, out)
    if json_output:
        print_json({"folder": str(out), "models": [asdict(model) for model in measured]})
        return
    print_grid(f"also in {out / PAGE_FILE}", *table(measured))


def _pictures(data: Path, limit: int) -> ImageSet:
    """The test pictures in ``data``, or ``limit`` of them."""
    from mpcvit.data.image_set import load_folder

    images = load_folder(data / "test" if (data / "test").is_dir() else data)
    return images.spread(limit) if limit else images
