"""``mpcvit cost``: what an inference costs, computed from the Program."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, mib, print_json, progress_console


@command
def cost(
    model: Annotated[str, typer.Option(help="A shipped model's name, or an exported model's folder.")] = "",
    parties: Annotated[int, typer.Option(min=2, help="Number of compute parties.")] = 2,
    json_output: Json = False,
) -> None:
    """Exact rounds, bytes and material of one inference, in total and per part of the model."""
    from rich.console import Console
    from rich.table import Table

    from mpcvit import zoo
    from mpcvit.ops import Cost
    from mpcvit.program.cost import stock_cost
    from mpcvit.program.files import load_program

    folder = zoo.folder(model or zoo.DEFAULT)
    computed = stock_cost(load_program(folder), parties)
    total = computed.total
    if json_output:
        nodes = {name: asdict(value) for name, value in computed.nodes.items()}
        print_json(
            {
                "model": folder.name,
                "engine": "stock",
                "parties": parties,
                **asdict(total),
                "wrap_probability": computed.wrap_probability,
                "setup": asdict(computed.setup),
                "nodes": nodes,
            }
        )
        return
    parts: dict[str, Cost] = {"setup": computed.setup}
    for name, value in computed.nodes.items():
        part = ".".join(name.split(".")[:2])
        parts[part] = parts.get(part, Cost.free(parties)) + value
    table = Table(title=f"{folder.name}, stock protocols, {parties} parties", title_justify="left")
    for heading in ("part", "rounds", "sent by party 0", "material, last party", "MACs", "comparisons"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, value in [*((p, v) for p, v in parts.items() if v.rounds), ("total", total)]:
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
    progress_console.print(f"chance of a silent wrap in one inference: at most {computed.wrap_probability:.2g}")
