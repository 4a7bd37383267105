"""The page of costs: what one inference of each model costs on both engines, computed from Programs without a run.

    python benchmarks/cost_page.py [MODEL ...] > docs/costs.md

MODEL is a shipped model's name, an exported model's folder, or a name of mpcvit.measure.random_models, which is then
exported anew: under a minute for the CIFAR sizes, several for deit_tiny. Without names: the shipped default model and
the CIFAR sizes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from mpcvit import zoo
from mpcvit.cli.output import progress_console
from mpcvit.engines.cost import Cost
from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, OBJECTIVES
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.engines.masked.protocol import Protocol
from mpcvit.engines.masked.protocols.grid_spline_by_dpf import GridSplineByDpf
from mpcvit.engines.masked.protocols.input_check_by_dcf import InputCheckByDcf
from mpcvit.engines.masked.protocols.input_check_by_dpf import InputCheckByDpf
from mpcvit.engines.masked.protocols.local import LocalProtocol
from mpcvit.engines.masked.protocols.masked_product import MaskedProduct
from mpcvit.engines.masked.protocols.masked_square import MaskedSquare
from mpcvit.engines.masked.protocols.nonnegative_by_bit import NonnegativeByBit
from mpcvit.engines.masked.protocols.nonnegative_by_dcf import GuardedNonnegative, NonnegativeByDcf
from mpcvit.engines.masked.protocols.order_by_shuffle import OrderByShuffle
from mpcvit.engines.masked.protocols.pick_by_dpf import PickByDpf
from mpcvit.engines.masked.protocols.plain_opening import PlainOpening
from mpcvit.engines.masked.protocols.relu_by_bit import ReluByBit
from mpcvit.engines.masked.protocols.relu_by_dcf import GuardedRelu, ReluByDcf
from mpcvit.engines.masked.protocols.relu_by_one_hot import ReluByOneHot
from mpcvit.engines.masked.protocols.reveal import Reveal
from mpcvit.engines.masked.protocols.spline_by_dcf import GuardedSpline, SplineByDcf
from mpcvit.engines.masked.protocols.truncating_opening import TruncatingOpening
from mpcvit.measure.random_models import RANDOM_MODELS, export_random
from mpcvit.program.files import load_program
from mpcvit.program.program import Program

_DEFAULT = (zoo.DEFAULT, *(name for name in RANDOM_MODELS if name.startswith("vit_7_4_32")))
#: Kinds of steps in the order of the page, and what the page calls them.
KINDS: dict[type[Protocol], str] = {
    InputCheckByDpf: "check of the picture",
    InputCheckByDcf: "check of the picture, 16 bits",
    TruncatingOpening: "opening, truncating",
    PlainOpening: "opening, plain",
    MaskedProduct: "product",
    MaskedSquare: "square",
    ReluByBit: "ReLU by bit",
    ReluByDcf: "ReLU by DCF",
    GuardedRelu: "ReLU by DCF, guarded",
    ReluByOneHot: "ReLU by one-hot blocks",
    GridSplineByDpf: "spline on a grid",
    SplineByDcf: "spline with knots",
    GuardedSpline: "spline with knots, guarded",
    NonnegativeByBit: "sign by bit",
    NonnegativeByDcf: "sign by DCF",
    GuardedNonnegative: "sign by DCF, guarded",
    PickByDpf: "pick by rank",
    OrderByShuffle: "order of scores",
    LocalProtocol: "linear map",
    Reveal: "output",
}


@dataclass(frozen=True)
class PlannedModel:
    """A Program's plans, one for each set of objectives that agree on it.

    Attributes:
        plans: by the names of their objectives.
    """

    name: str
    program: Program
    plans: dict[tuple[str, ...], Plan]

    @classmethod
    def of(cls, name: str, program: Program) -> PlannedModel:
        """Return all plans of ``program``."""
        by_digest: dict[bytes, tuple[list[str], Plan]] = {}
        for objective in OBJECTIVES.values():
            plan = make_plan(program, objective)
            by_digest.setdefault(plan.digest, ([], plan))[0].append(objective.name)
        return cls(name, program, {tuple(names): plan for names, plan in by_digest.values()})


def page(models: Sequence[PlannedModel], command: str) -> str:
    """Return the whole page as Markdown; ``command`` is what made it."""
    parts = [_HEAD.format(command=command, default=DEFAULT_OBJECTIVE.name).rstrip("\n")]
    for model in models:
        parts.append("\n".join(_section(model)))
    return "\n".join(parts)


_HEAD = """\
# Costs of one inference

Made from the Programs alone, without running them, by

    {command}

Tests hold such numbers equal to what parties count; [protocols.md](protocols.md) says where they come from. The random
models have published sizes and random weights; key lengths depend on proven ranges and so a little on the weights.

* **rounds** of messages between the parties, the setup round included. Independent steps share rounds, which is why
  the tables by kind of step have none.
* **sent**: online payload of each party, without framing and TLS; the same for both.
* **material**: what the dealer sends to party 0 and to party 1 ahead of the inference, the 32-byte seeds included.
* **repeated**: bound on the chance that some opening of an inference is ambiguous, so that it needs another attempt.
* **wraps**: bound on the chance that some truncation goes wrong silently. On the fast engine none does.

MB are 10^6 bytes. An objective is what a plan minimises; the default is `{default}`. Objectives that lead to the same
plan share a row. *stock* is CrypTen's own protocols with this project's dealer, for two parties and the very same
Program. Its splines are made for the fast engine: a grid takes a comparison per boundary on the stock engine, so
CrypTen's own functions would be cheaper there than this.
"""


def _section(model: PlannedModel) -> Iterator[str]:
    yield f"\n## {model.name}\n"
    yield "| engine | objective | rounds | sent by each, MB | material, MB: party 0 | party 1 | repeated | wraps |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for names, plan in model.plans.items():
        cost = fast_cost(plan)
        yield _row("fast", ", ".join(names), *_totals(cost.total), f"{cost.repeat_probability:.1e}", "0")
    stock = stock_cost(model.program, 2)
    yield _row("stock", "", *_totals(stock.total), "0", f"{stock.wrap_probability:.1e}")
    weights = fast_cost(next(iter(model.plans.values()))).weight_bytes
    yield f"\nOnce per model load each party sends {_mb(weights)} MB to open the masked weights."
    for names, plan in model.plans.items():
        yield f"\nFast engine, objective {', '.join(names)}, by kind of step:\n"
        yield "| kind of step | steps | sent by each, MB | material, MB: party 0 | party 1 |"
        yield "|---|---:|---:|---:|---:|"
        yield from (_row(kind, str(count), *_totals(cost)[1:]) for kind, count, cost in by_kind(plan))


def by_kind(plan: Plan) -> Iterator[tuple[str, int, Cost]]:
    """Yield (kind, steps, their cost) of each kind that the plan has; rounds added up as if no steps shared them."""
    costs = fast_cost(plan).steps
    for protocol, kind in KINDS.items():
        steps = [step for step in plan.steps if isinstance(step.protocol, protocol)]
        if steps:
            yield kind, len(steps), sum((costs[step.name] for step in steps), start=Cost.free(2))


def _totals(cost: Cost) -> tuple[str, str, str, str]:
    first, second = cost.material_bytes
    return str(cost.rounds), _mb(cost.bytes_sent[0]), _mb(first), _mb(second)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _mb(count: int) -> str:
    return f"{count / 1e6:.3f}"


def _load(name: str) -> Program:
    if name not in RANDOM_MODELS:
        return load_program(zoo.folder(name))
    with tempfile.TemporaryDirectory(prefix="mpcvit-costs-") as folder:
        export_random(name, Path(folder))
        return load_program(Path(folder))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: the shipped model and the CIFAR sizes")
    names: list[str] = parser.parse_args().models or list(_DEFAULT)
    models = [
        PlannedModel.of(Path(name).name, _load(name))
        for name in track(names, "models", console=progress_console, transient=True)
    ]
    print(page(models, " ".join(["python benchmarks/cost_page.py", *map(str, names)])))  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
