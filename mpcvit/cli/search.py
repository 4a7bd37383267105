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

from mpcvit.cli.output import Json, command, print_json, print_notices, print_table
from mpcvit.cli.picture_options import SkipUnreadable
from mpcvit.store.out_folder import check_folder

if TYPE_CHECKING:
    from mpcvit.data.image_set import ImageSet
    from mpcvit.search.found import Found
    from mpcvit.search.presets import Preset
    from mpcvit.search.trial import Trial

_ROWS = 18


@command
def search(
    out: Annotated[Path, typer.Option(help="Folder of trainings, trials and report. An existing search continues.")],
    preset: Annotated[
        str, typer.Option(help="Preset: smoke, mpcvit, mpcvit_plus, mpcvit_small, mpcvit_plus_small, pareto or anneal.")
    ] = "smoke",
    data: Annotated[
        Path | None, typer.Option(help="Image folder with a 'train' part; smoke draws its own pictures.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Network to price for: wan, lan or loopback.")] = "wan",
    budget: Annotated[
        float | None, typer.Option(min=0, help="Upper limit of a candidate's predicted seconds per secure inference.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Number of configurations that the sampler tries.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Shorten all trainings to this many epochs.")] = None,
    pictures: Annotated[
        int | None, typer.Option(min=2, help="Use only this many training pictures, evenly from all classes.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Trained model, folder or shipped name: the teacher, and the start of anneal and the _small presets."
        ),
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    workers: Annotated[str, typer.Option(help="Where trainings run: a number of processes, or ray.")] = "1",
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, ...")] = "auto",
    json_output: Json = False,
) -> None:
    """Search architectures by accuracy and predicted seconds of secure inference; ends with a Pareto set and report."""
    from mpcvit import zoo
    from mpcvit.data.image_set import load_folder
    from mpcvit.link_profile import link_profile
    from mpcvit.reports.search import write
    from mpcvit.search.presets import preset as named
    from mpcvit.search.run import Search, pictures_for
    from mpcvit.search.workers import workers as made
    from mpcvit.train.device import require_device

    check_folder(out)
    require_device(device)
    chosen = named(preset)
    model = None if model is None else zoo.folder(model)
    network = link_profile(profile)
    if epochs is not None:
        chosen = chosen.shortened(epochs)
    if trials is not None:
        chosen = replace(chosen, trials=trials)
    images = pictures_for(chosen) if data is None else load_folder(data / "train", skip_unreadable=skip_unreadable)
    if pictures is not None:
        images = images.spread(pictures)
    board = _Board(chosen, profile)
    with made(workers) as pool, board.live:
        found = Search(
            preset=chosen,
            folder=out,
            profile=network,
            images=images,
            budget=budget,
            model=model,
            prices_folder=Path.home() / ".cache" / "mpcvit" / "prices",
            device=device,
            on_trial=board.add,
            report=write,
            say=board.say,
        ).run(pool)
        board.say("")
    if not board.live.console.is_terminal:
        board.live.console.print()  # where nothing moves, the table ends without a line break
    _show(found, images, out, json_output)


def _show(found: Found, images: ImageSet, out: Path, json_output: bool) -> None:
    from mpcvit.reports.search import PARETO_FILE, PLOT_FILE, REPORT_FILE
    from mpcvit.search.trial import best

    if json_output:
        print_json(
            {
                "preset": found.title,
                "network": found.profile.name,
                "trials": len(found.trials),
                "pareto": [
                    {"name": trial.name, "accuracy": trial.accuracy, "seconds": trial.seconds}
                    for trial in best(found.trials)
                ],
                "folder": str(out),
                "unreadable": images.unreadable,
                "notices": list(images.notices),
            }
        )
        return
    print_notices(images.notices)
    files = (("page", REPORT_FILE), ("plot", PLOT_FILE), ("configurations", PARETO_FILE))
    print_table(
        f"{len(best(found.trials))} of {len(found.trials)} in the Pareto set",
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
    """Return how many heads of each kind, e.g. ``12 softmax, 16 scaling``."""
    counts: dict[str, int] = {}
    for block in trial.config.blocks:
        for kind in block.heads:
            counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
