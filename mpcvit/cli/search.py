"""``mpcvit search``: look for configurations that are accurate and cheap under MPC."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mpcvit.cli.output import Json, command, print_json, print_table

if TYPE_CHECKING:
    from mpcvit.search.presets import Preset
    from mpcvit.search.report import Report
    from mpcvit.search.trial import Trial

_ROWS = 18


@command
def search(
    out: Annotated[Path, typer.Option(help="Folder of trainings, trials and report; continued if it exists.")],
    preset: Annotated[
        str, typer.Option(help="smoke, mpcvit, mpcvit_plus, either with _small, pareto or anneal.")
    ] = "smoke",
    data: Annotated[
        Path | None, typer.Option(help="Image folder with a 'train' part; smoke makes pictures of its own.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Network that prices are for: wan, lan or loopback.")] = "wan",
    budget: Annotated[
        float | None, typer.Option(min=0, help="Seconds of one secure inference that no candidate may cost.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Configurations that the sampler tries.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Shorten all trainings to so many epochs.")] = None,
    pictures: Annotated[
        int | None, typer.Option(min=2, help="Take only so many training pictures, evenly from all classes.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder or shipped model: the teacher, and what anneal and the _small ones start from."),
    ] = None,
    workers: Annotated[str, typer.Option(help="Trainings side by side: a number of processes, or ray.")] = "1",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    json_output: Json = False,
) -> None:
    """Search architectures by accuracy and predicted seconds of secure inference; ends with a Pareto set and report."""
    from mpcvit import zoo
    from mpcvit.data.image_set import load_folder
    from mpcvit.link_profile import link_profile
    from mpcvit.search.presets import preset as named
    from mpcvit.search.run import Search, pictures_for
    from mpcvit.search.workers import workers as made

    chosen = named(preset)
    model = None if model is None else zoo.folder(model)
    network = link_profile(profile)
    if epochs is not None:
        chosen = chosen.shortened(epochs)
    if trials is not None:
        chosen = replace(chosen, trials=trials)
    images = pictures_for(chosen) if data is None else load_folder(data / "train")
    if pictures is not None:
        images = images.spread(pictures)
    board = _Board(chosen, profile)
    with made(workers) as pool, board.live:
        report = Search(
            preset=chosen,
            folder=out,
            profile=network,
            images=images,
            budget=budget,
            model=model,
            prices_folder=Path.home() / ".cache" / "mpcvit" / "prices",
            device=device,
            on_trial=board.add,
            say=board.say,
        ).run(pool)
        board.say("")
    if not board.live.console.is_terminal:
        board.live.console.print()  # where nothing moves, the table ends without a line break
    _show(report, out, json_output)


def _show(report: Report, out: Path, json_output: bool) -> None:
    from mpcvit.search.report import PARETO_FILE, PLOT_FILE, REPORT_FILE
    from mpcvit.search.trial import best

    if json_output:
        print_json(
            {
                "preset": report.title,
                "network": report.profile.name,
                "trials": len(report.trials),
                "pareto": [
                    {"name": trial.name, "accuracy": trial.accuracy, "seconds": trial.seconds}
                    for trial in best(report.trials)
                ],
                "folder": str(out),
            }
        )
        return
    files = (("page", REPORT_FILE), ("plot", PLOT_FILE), ("configurations", PARETO_FILE))
    print_table(
        f"{len(best(report.trials))} of {len(report.trials)} in the Pareto set",
        [(name, str(out / file)) for name, file in files],
    )


class _Board:
    """The live table."""

    def __init__(self, preset: Preset, network: str) -> None:
        self._title = f"search {preset.name}, prices on {network}"
        self._trials: list[Trial] = []
        self._spinner = Spinner("dots", text="")
        # its own stream: while a model trains, sys.stderr leads to the training's log
        self.live = Live(console=Console(file=sys.stderr), redirect_stderr=False, redirect_stdout=False)
        self.live.update(self._render())

    def add(self, trial: Trial) -> None:
        """Show a finished trial."""
        self._trials.append(trial)
        self.live.update(self._render())

    def say(self, what: str) -> None:
        """Show what is going on."""
        self._spinner.update(text=Text(what))
        self.live.update(self._render(idle=not what))

    def _render(self, idle: bool = False) -> Group:
        from mpcvit.search.trial import best

        front = {trial.name for trial in best(self._trials)}
        table = Table(title=self._title, title_justify="left", caption=self._caption(), caption_justify="left")
        for heading in ("trial", "accuracy", "seconds", "rounds", "epochs", "heads"):
            table.add_column(heading, justify="left" if heading in ("trial", "heads") else "right")
        for trial in self._trials[-_ROWS:]:
            table.add_row(
                trial.name,
                f"{100 * trial.accuracy:.1f} %",
                f"{trial.seconds:.3g}",
                str(trial.price.rounds),
                str(trial.epochs),
                _heads(trial),
                style="bold green" if trial.name in front else None,
            )
        return Group(table) if idle else Group(table, self._spinner)

    def _caption(self) -> str:
        hidden = max(len(self._trials) - _ROWS, 0)
        return "green: Pareto set" + (f"; {hidden} earlier ones not shown" if hidden else "")


def _heads(trial: Trial) -> str:
    """How many heads of each kind, e.g. ``12 softmax, 16 scaling``."""
    counts: dict[str, int] = {}
    for block in trial.config.heads:
        for kind in block:
            counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
