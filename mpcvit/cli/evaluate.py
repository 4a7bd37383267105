"""``mpcvit eval``: accuracy of a model on an executor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, engine_override, print_json, print_notices, print_table, progress_console
from mpcvit.cli.picture_options import FitOption, SkipUnreadable


@command
def evaluate(
    data: Annotated[Path, typer.Option(help="Image folder: <class>/*, or with a 'test' part.")],
    model: Annotated[str, typer.Option(help="A shipped model's name, or an exported model's folder.")] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="Number of pictures to score, spread over the classes; 0 for all.")
    ] = 0,
    executor: Annotated[str, typer.Option(help="Executor: float, quantized, integer, reference or secure.")] = "float",
    calibration: Annotated[
        Path | None,
        typer.Option(help="For integer: image folder with a 'train' part to calibrate on. Default: that of --data."),
    ] = None,
    parties: Annotated[int, typer.Option(min=2, help="For secure: number of compute parties.")] = 2,
    engine: Annotated[str, typer.Option(help="For secure: engine, fast (two parties) or stock.")] = "",
    fit: FitOption = "",
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> None:
    """Score a model on labelled pictures.

    In float; with the quantizers of 'mpcvit quantize'; in integers only, as I-ViT computes (softmax, ReLU-softmax and
    scaling heads); in the reference, which computes in clear what the secure engine does; or on real parties' shares.
    """
    from rich.progress import Progress

    from mpcvit import zoo
    from mpcvit.errors import ConfigError
    from mpcvit.export.source import SourceChoice, open_source
    from mpcvit.measure.accuracy import Executor
    from mpcvit.measure.accuracy import evaluate as run
    from mpcvit.measure.scored_pictures import scored_pictures

    if executor not in set(Executor):
        raise ConfigError(
            f"executor '{executor}'", expected=", ".join(Executor), remedy="Choose one of these with --executor."
        )
    folder = zoo.folder(model or zoo.DEFAULT)
    images = scored_pictures(folder, data, limit, fit, skip_unreadable)
    choice = SourceChoice(trained=folder, data=calibration or data, skip_unreadable=skip_unreadable)
    source = open_source(choice) if executor == Executor.INTEGER else None
    notices = (*images.notices, *(() if source is None else source.notices))
    with Progress(console=progress_console, transient=True) as bar:
        task = bar.add_task(executor, total=len(images))
        result = run(
            folder,
            images,
            Executor(executor),
            calibration=None if source is None else source.images,
            parties=parties,
            overrides=engine_override(engine, parties),
            advance=lambda n: bar.advance(task, n),
        )
    if json_output:
        unreadable = images.unreadable + (0 if source is None else source.unreadable)
        print_json({"model": folder.name, **asdict(result), "unreadable": unreadable, "notices": list(notices)})
    else:
        print_notices(notices)
        facts = {**asdict(result), **result.cost}
        del facts["cost"]
        rows = [(fact.replace("_", " "), str(value)) for fact, value in facts.items() if value is not None]
        print_table(f"{folder.name} on {len(images)} pictures", rows)
