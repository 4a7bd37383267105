"""``mpcvit cost``: what an inference costs, computed from the Program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mpcvit.cli.output import Json, command, engine_override, mib, print_json, progress_console, visible
from mpcvit.errors import ModelFileError

if TYPE_CHECKING:
    from mpcvit.engines.cost import Cost


@command
def cost(
    model: Annotated[
        str,
        typer.Option(
            help="A shipped model's name, an exported model's folder, or a random model of 'bench latency --list'."
        ),
    ] = "",
    engine: Annotated[str, typer.Option(help="Engine: fast or stock. Default: fast for two parties.")] = "",
    objective: Annotated[
        str, typer.Option(help="What the fast engine minimises: loopback, lan, wan, rounds or material.")
    ] = "wan",
    parties: Annotated[int, typer.Option(min=2, help="Number of compute parties.")] = 2,
    json_output: Json = False,
) -> None:
    """Print the exact rounds, bytes and material of one inference, in total and per part of the model."""
    from mpcvit import zoo

    engine_override(engine, parties)
    chosen = engine or ("fast" if parties == 2 else "stock")
    with progress_console.status("") as status, _folder(model or zoo.DEFAULT, status.update) as folder:
        (_fast if chosen == "fast" else _stock)(folder, objective, parties, json_output)


def _folder(model: str, advance: Callable[[str], None]) -> AbstractContextManager[Path]:
    """Return where an exported model is; torch is loaded only if it has to be made."""
    from mpcvit import zoo

    try:
        return nullcontext(zoo.folder(model))
    except ModelFileError:
        from mpcvit.measure.random_models import RANDOM_MODELS, model_folder

        if model not in RANDOM_MODELS:
            raise
        return model_folder(model, advance)


def _fast(folder: Path, goal: str, parties: int, json_output: bool) -> None:
    from mpcvit.engines.masked.cost import fast_cost
    from mpcvit.engines.masked.objective import objective
    from mpcvit.engines.masked.plan import make_plan
    from mpcvit.program.files import load_program

    program = load_program(folder)
    computed = fast_cost(make_plan(program, objective(goal)))
    gates = [node for node in program.nodes if node.op.guardable]
    guarded = sum(node.guarded for node in gates)
    if json_output:
        print_json(
            {
                "model": folder.name,
                "engine": "fast",
                "objective": goal,
                "parties": parties,
                **asdict(computed.total),
                "repeat_probability": computed.repeat_probability,
                "weight_bytes": computed.weight_bytes,
                "ranges": program.ranges,
                "guarded_gates": guarded,
                "gates": len(gates),
                "setup": asdict(computed.setup),
                "steps": {name: asdict(value) for name, value in computed.steps.items()},
            }
        )
        return
    _table(f"{folder.name}, fast engine, objective {goal}", computed.setup, computed.steps, computed.total)
    progress_console.print(
        "rounds of a part: what it would take alone; parts share rounds\n"
        f"chance that an inference needs another attempt: at most {computed.repeat_probability:.2g}\n"
        f"ranges: {program.ranges}; guarded gates: {guarded} of {len(gates)}\n"
        f"once per model load: {mib(computed.weight_bytes)} sent by each party to open the masked weights"
    )


def _stock(folder: Path, goal: str, parties: int, json_output: bool) -> None:
    from mpcvit.engines.crypten.cost import stock_cost
    from mpcvit.program.files import load_program

    computed = stock_cost(load_program(folder), parties)
    if json_output:
        print_json(
            {
                "model": folder.name,
                "engine": "stock",
                "parties": parties,
                **asdict(computed.total),
                "wrap_probability": computed.wrap_probability,
                "setup": asdict(computed.setup),
                "nodes": {name: asdict(value) for name, value in computed.nodes.items()},
            }
        )
        return
    title = f"{folder.name}, stock protocols, {parties} parties"
    _table(title, computed.setup, computed.nodes, computed.total)
    progress_console.print(f"chance of a silent wrap in one inference: at most {computed.wrap_probability:.2g}")


def _table(title: str, setup: Cost, steps: Mapping[str, Cost], total: Cost) -> None:
    from rich.console import Console
    from rich.table import Table

    parts: dict[str, Cost] = {"setup": setup}
    for name, value in steps.items():
        # whatever the model, names are paths, and their first two steps make a table that can be read
        part = ".".join(name.split("/")[0].split(".")[:2])
        parts[part] = parts[part] + value if part in parts else value
    table = Table(title=escape(visible(title)), title_justify="left")
    for heading in ("part", "rounds", "sent by party 0", "material, last party", "MACs", "comparisons"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    shown = [(part, value) for part, value in parts.items() if value.rounds or value.macs or value.material_bytes[-1]]
    for part, value in [*shown, ("total", total)]:
        table.add_row(
            part,
            str(value.rounds),
            mib(value.bytes_sent[0]),
            mib(value.material_bytes[-1]),
            f"{value.macs:,}",
            f"{value.comparisons:,}",
            style="bold" if part == "total" else None,
        )
    Console().print(table)
