"""``mpcvit cost``: what an inference costs, computed from the Program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from mpcvit.cli.output import Json, command, engine_override, mib, print_grid, print_json, progress_console, visible
from mpcvit.errors import BudgetUnknown, ModelFileError
from mpcvit.wire.budget import FULL, BudgetCost

if TYPE_CHECKING:
    from mpcvit.engines.cost import Cost
    from mpcvit.program.program import Program


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
    budget: Annotated[str, typer.Option(help="Which of the model's Programs, of those that it has.")] = FULL,
    json_output: Json = False,
) -> None:
    """Print the exact rounds, bytes and material of one inference, in total and per part of the model.

    Of a model with several budgets, the totals of all of them, too.
    """
    from mpcvit import zoo
    from mpcvit.engines.masked.objective import objective as priced
    from mpcvit.store.budgets import load_programs
    from mpcvit.store.program_costs import program_costs

    engine_override(engine, parties)
    fast = engine == "fast" or (not engine and parties == 2)
    with progress_console.status("") as status, _folder(model or zoo.DEFAULT, status.update) as folder:
        programs = load_programs(folder)
        if budget not in programs:
            raise BudgetUnknown.of(folder.name, budget, programs)
        several = len(programs) > 1
        totals = program_costs(programs, parties, priced(objective) if fast else None) if several else ()
        named = _Priced(programs[budget], folder.name, budget, totals)
    (_fast if fast else _stock)(named, objective, parties, json_output)


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


@dataclass(frozen=True)
class _Priced:
    """A Program to price.

    Attributes:
        model, budget: whose it is.
        totals: those of all of the model's Programs, if it has several.
    """

    program: Program
    model: str
    budget: str
    totals: tuple[BudgetCost, ...]

    @property
    def title(self) -> str:
        """What it is called."""
        return self.model if self.budget == FULL else f"{self.model}, budget {self.budget}"

    def facts(self) -> dict[str, Any]:
        """Return what ``--json`` says of all Programs."""
        return {"budget": self.budget, "budgets": {one.budget: asdict(one) for one in self.totals}}


def _fast(priced: _Priced, goal: str, parties: int, json_output: bool) -> None:
    from mpcvit.engines.masked.cost import fast_cost
    from mpcvit.engines.masked.objective import objective
    from mpcvit.engines.masked.plan import make_plan

    program = priced.program
    computed = fast_cost(make_plan(program, objective(goal)))
    gates = [node for node in program.nodes if node.op.guardable]
    guarded = sum(node.guarded for node in gates)
    if json_output:
        print_json(
            {
                "model": priced.model,
                **priced.facts(),
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
    _table(f"{priced.title}, fast engine, objective {goal}", computed.setup, computed.steps, computed.total)
    progress_console.print(
        "rounds of a part: what it would take alone; parts share rounds\n"
        f"chance that an inference needs another attempt: at most {computed.repeat_probability:.2g}\n"
        f"ranges: {program.ranges}; guarded gates: {guarded} of {len(gates)}\n"
        f"once per model load: {mib(computed.weight_bytes)} sent by each party to open the masked weights"
    )
    _all(priced.totals)


def _stock(priced: _Priced, goal: str, parties: int, json_output: bool) -> None:
    from mpcvit.engines.crypten.cost import stock_cost

    computed = stock_cost(priced.program, parties)
    if json_output:
        print_json(
            {
                "model": priced.model,
                **priced.facts(),
                "engine": "stock",
                "parties": parties,
                **asdict(computed.total),
                "wrap_probability": computed.wrap_probability,
                "setup": asdict(computed.setup),
                "nodes": {name: asdict(value) for name, value in computed.nodes.items()},
            }
        )
        return
    title = f"{priced.title}, stock protocols, {parties} parties"
    _table(title, computed.setup, computed.nodes, computed.total)
    progress_console.print(f"chance of a silent wrap in one inference: at most {computed.wrap_probability:.2g}")
    _all(priced.totals)


def _all(totals: tuple[BudgetCost, ...]) -> None:
    """Print what one inference costs with each of a model's Programs."""
    cells = [
        (one.budget, str(one.rounds), mib(one.bytes_sent), mib(one.material_bytes), f"{one.program_sha256[:16]}..")
        for one in totals
    ]
    if cells:
        print_grid("budgets", ["budget", "rounds", "sent by party 0", "material, last party", "program"], cells)


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
