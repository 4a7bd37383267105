"""How long one core takes to deal one session's material, and a party to prepare it; one JSON object.

    python benchmarks/dealing.py MODEL [MODEL ..] [--objective wan] [--runs 5]

MODEL is an exported model's folder, a shipped model's name, or a random model of ``mpcvit bench latency --list``.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from mpcvit import zoo
from mpcvit.engines.masked.dealer import deal_plan, weight_masks
from mpcvit.engines.masked.executor import PreparedPlan
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, objective
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.engines.masked.plan_material import MemoryPlanMaterial
from mpcvit.engines.masked.weights import open_weights
from mpcvit.measure.random_models import RANDOM_MODELS, export_random
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.store.exported import ModelFolder


def measure(plan: Plan, model: ModelFolder, runs: int) -> dict[str, object]:
    """Return medians over ``runs``, after one run that compiles."""
    load = [secrets.token_bytes(SEED_BYTES) for _ in range(2)]
    masks = weight_masks(plan, (Prg(load[0]), Prg(load[1])))
    # any share of the weights takes as long as another; the exchange is with itself
    weights = open_weights(plan, model.weights, Prg(load[1]), lambda sent: memoryview(bytes(sent)))
    dealing, preparing = [], []
    for _ in range(runs + 1):
        session, seeds = secrets.token_bytes(16), [secrets.token_bytes(SEED_BYTES) for _ in range(2)]
        start = time.perf_counter()
        sent = [step.sent[1] for step in deal_plan(plan, session, seeds, masks)]
        dealing.append(time.perf_counter() - start)
        material = MemoryPlanMaterial(seeds[1], session, b"".join(sent))
        start = time.perf_counter()
        PreparedPlan(plan, 1, material, weights)
        preparing.append(time.perf_counter() - start)
    return {
        "dealing_s": median(dealing[1:]),
        "preparing_s": median(preparing[1:]),
        "material_bytes": list(plan.material),
    }


def main() -> None:
    """Measure every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--objective", default=DEFAULT_OBJECTIVE.name)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name in options.models:
        with tempfile.TemporaryDirectory() as scratch:
            if name in RANDOM_MODELS:
                export_random(name, Path(scratch))
            model = ModelFolder.load(Path(scratch) if name in RANDOM_MODELS else zoo.folder(name))
            plan = make_plan(model.program, objective(options.objective))
            results[name] = measure(plan, model, options.runs)
    sys.stdout.write(json.dumps({"objective": options.objective, "runs": options.runs, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
