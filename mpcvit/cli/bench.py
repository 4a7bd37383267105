"""``mpcvit bench``: measurements on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_notices, print_table, progress_console

bench_app = typer.Typer(help="Time models.", no_args_is_help=True)


@bench_app.callback()
def _bench() -> None:
    """Measure."""


@bench_app.command("latency")
@command
def latency(
    model: Annotated[
        str, typer.Option(help="A shipped model's name, an exported model's folder, or a random model (see --list).")
    ] = "",
    engine: Annotated[str, typer.Option(help="Engine: fast or stock.")] = "fast",
    network: Annotated[
        str, typer.Option(help="Network: loopback, lan or wan. lan and wan are emulated and need root.")
    ] = ("loopback"),
    runs: Annotated[int, typer.Option(min=1, help="Number of timed inferences.")] = 5,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed inferences before the timed ones.")] = 1,
    objective: Annotated[
        str,
        typer.Option(
            help="What the fast engine minimises: loopback, lan, wan, rounds or material. Default: the network."
        ),
    ] = "",
    list_models: Annotated[bool, typer.Option("--list", help="List random models and exit.")] = False,
    json_output: Json = False,
) -> None:
    """Time inferences by real parties and a real dealer, each a process on one core, and compare with float."""
    from mpcvit import zoo
    from mpcvit.errors import ConfigError
    from mpcvit.link_profile import link_profile
    from mpcvit.measure.latency import measure_latency
    from mpcvit.measure.random_models import RANDOM_MODELS, model_folder

    if list_models:
        print_table(
            "random models", [(name, f"{c.tokens} tokens, {c.depth} x {c.dim}") for name, c in RANDOM_MODELS.items()]
        )
        return
    if engine not in ("fast", "stock"):
        raise ConfigError(f"engine '{engine}'", expected="fast or stock", remedy="Choose one of these with --engine.")
    profile = link_profile(network)
    with (
        progress_console.status("") as status,
        model_folder(model or zoo.DEFAULT, advance=status.update) as folder,
    ):
        result = measure_latency(
            folder, engine, profile, runs, objective=objective, warmup=warmup, advance=status.update
        )
    if json_output:
        print_json(asdict(result))
    else:
        rows = [(fact.replace("_", " "), str(value)) for fact, value in asdict(result).items()]
        print_table(f"{result.model}, {engine} engine, {network}", rows)


@bench_app.command("load")
@command
def load(
    clients: Annotated[int, typer.Option(min=1, help="Client processes, each with one request at a time.")] = 4,
    requests: Annotated[int, typer.Option(min=1, help="Requests of all clients together.")] = 32,
    model: Annotated[
        str,
        typer.Option(help="A shipped model's name, an exported model's folder, or a random model of 'bench latency'."),
    ] = "",
    queue: Annotated[
        int | None, typer.Option(min=0, help="Sessions that may wait at the parties. Default: the number of clients.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Let many clients ask real parties and a real dealer at the same time, and compare with the reference."""
    from mpcvit import zoo
    from mpcvit.measure.load import measure_load
    from mpcvit.measure.random_models import model_folder

    with (
        progress_console.status("") as status,
        model_folder(model or zoo.DEFAULT, advance=status.update) as folder,
    ):
        result, failures = measure_load(folder, clients, requests, queue=queue, advance=status.update)
    print_notices(failures)
    if json_output:
        print_json(asdict(result))
    else:
        rows = [(fact.replace("_", " "), _text(value)) for fact, value in asdict(result).items()]
        print_table(f"{folder.name}, {clients} clients", rows)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
