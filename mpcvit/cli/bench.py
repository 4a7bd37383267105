"""``mpcvit bench``: measurements on this machine."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_table, progress_console

bench_app = typer.Typer(help="Measure.", no_args_is_help=True)


@bench_app.callback()
def _bench() -> None:
    """Measure."""


@bench_app.command("latency")
@command
def latency(
    model: Annotated[
        str, typer.Option(help="A shipped model's name, an exported model's folder, or a random model (see --list).")
    ] = "",
    engine: Annotated[str, typer.Option(help="fast or stock.")] = "fast",
    network: Annotated[str, typer.Option(help="loopback, lan or wan; the last two are emulated and need root.")] = (
        "loopback"
    ),
    runs: Annotated[int, typer.Option(min=1, help="Timed inferences.")] = 5,
    warmup: Annotated[int, typer.Option(min=0, help="Inferences before these.")] = 1,
    objective: Annotated[
        str,
        typer.Option(
            help="What the fast engine minimises: loopback, lan, wan, rounds or material; default: the network."
        ),
    ] = "",
    list_models: Annotated[bool, typer.Option("--list", help="List random models and stop.")] = False,
    json_output: Json = False,
) -> None:
    """Time inferences by real parties and a real dealer, each a process on one core, and compare with float."""
    from mpcvit import zoo
    from mpcvit.bench.latency import measure_latency
    from mpcvit.bench.random_models import RANDOM_MODELS, export_random
    from mpcvit.errors import ConfigError
    from mpcvit.link_profile import link_profile

    if list_models:
        print_table(
            "random models", [(name, f"{c.tokens} tokens, {c.depth} x {c.dim}") for name, c in RANDOM_MODELS.items()]
        )
        return
    if engine not in ("fast", "stock"):
        raise ConfigError(f"engine '{engine}'", expected="fast or stock", remedy="Choose one of these with --engine.")
    profile = link_profile(network)
    with tempfile.TemporaryDirectory(prefix="mpcvit-model-") as scratch, progress_console.status("") as status:
        if model in RANDOM_MODELS:
            status.update(f"exporting {model}")
            folder = Path(scratch) / "model"
            export_random(model, folder)
        else:
            folder = zoo.folder(model or zoo.DEFAULT)
        result = measure_latency(
            folder, engine, profile, runs, objective=objective, warmup=warmup, advance=status.update
        )
    if json_output:
        print_json(asdict(result))
    else:
        rows = [(fact.replace("_", " "), str(value)) for fact, value in asdict(result).items()]
        print_table(f"{result.model}, {engine} engine, {network}", rows)
