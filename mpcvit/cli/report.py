"""``mpcvit report``: models side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_grid, print_json, progress_console


@command
def report(
    models: Annotated[list[str], typer.Argument(help="Shipped models' names, or exported models' folders.")],
    out: Annotated[Path, typer.Option(help="Folder of measurements and report; what is there is not repeated.")],
    data: Annotated[
        Path | None, typer.Option(help="Image folder: <class>/*, or with a 'test' part. Without it nothing is scored.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Pictures to score, spread over the classes; 0 is all.")] = 0,
    network: Annotated[
        list[str] | None, typer.Option(help="loopback, lan or wan, once for each; emulated ones need root.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Timed inferences per model and network.")] = 3,
    json_output: Json = False,
) -> None:
    """Measure accuracy (float, reference) and latency of several models; write a table, a plot and a page."""
    from dataclasses import asdict

    from mpcvit import zoo
    from mpcvit.bench.accuracy import Executor
    from mpcvit.bench.comparison import PAGE_FILE, caption, table, write
    from mpcvit.bench.measured import measure
    from mpcvit.data.image_set import load_folder
    from mpcvit.link_profile import link_profile

    networks = [link_profile(name).name for name in (network or ["loopback"])]
    folders = [zoo.folder(model) for model in models]
    images = None
    if data is not None:
        images = load_folder(data / "test" if (data / "test").is_dir() else data)
        images = images.spread(limit) if limit else images
    measured = []
    with progress_console.status("") as status:
        for folder in folders:
            measured.append(
                measure(
                    folder,
                    out,
                    images=images,
                    executors=(Executor.FLOAT, Executor.REFERENCE),
                    networks=networks,
                    runs=runs,
                    say=status.update,
                )
            )
            write(measured, out)
    if json_output:
        print_json({"folder": str(out), "models": [asdict(model) for model in measured]})
        return
    print_grid(f"also in {out / PAGE_FILE}", *table(measured), caption(measured))
