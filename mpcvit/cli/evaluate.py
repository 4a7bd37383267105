"""``mpcvit eval``: accuracy of a model on an executor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, engine_override, print_json, print_table, progress_console


@command
def evaluate(
    data: Annotated[Path, typer.Option(help="Image folder: <class>/*, or with a 'test' part.")],
    model: Annotated[str, typer.Option(help="A shipped model's name, or an exported model's folder.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Pictures to score, spread over the classes; 0 is all.")] = 0,
    executor: Annotated[str, typer.Option(help="float, quantized, integer, reference or secure.")] = "float",
    calibration: Annotated[
        Path | None,
        typer.Option(help="For integer: image folder with a 'train' part to calibrate on; by default that of --data."),
    ] = None,
    parties: Annotated[int, typer.Option(min=2, help="Compute parties, for secure.")] = 2,
    engine: Annotated[str, typer.Option(help="For secure: fast (two parties) or stock.")] = "",
    json_output: Json = False,
) -> None:
    """Score a model on labelled pictures.

    In float; with the quantizers of 'mpcvit quantize'; in integers only, as I-ViT computes (softmax, ReLU-softmax and
    scaling heads); in the reference, which computes in clear what the secure engine does; or on real parties' shares.
    """
    from rich.progress import Progress

    from mpcvit import zoo
    from mpcvit.bench.accuracy import Executor
    from mpcvit.bench.accuracy import evaluate as run
    from mpcvit.cli.export_source import Choice, open_source
    from mpcvit.data.image_set import load_folder
    from mpcvit.errors import ConfigError

    if executor not in set(Executor):
        raise ConfigError(
            f"executor '{executor}'", expected=", ".join(Executor), remedy="Choose one of these with --executor."
        )
    folder = zoo.folder(model or zoo.DEFAULT)
    images = load_folder(data / "test" if (data / "test").is_dir() else data)
    if limit:
        images = images.spread(limit)
    source = open_source(Choice(trained=folder, data=calibration or data)) if executor == Executor.INTEGER else None
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
        print_json({"model": folder.name, **asdict(result)})
    else:
        facts = {**asdict(result), **result.cost}
        del facts["cost"]
        rows = [(fact.replace("_", " "), str(value)) for fact, value in facts.items() if value is not None]
        print_table(f"{folder.name} on {len(images)} pictures", rows)
