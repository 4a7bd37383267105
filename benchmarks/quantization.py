"""How accurate is a model after each method of quantization, and what does the secure path keep of that?

    python benchmarks/quantization.py --model mpcvit_cifar10 --data data/cifar10 [--limit N] [--reference 2000]
        [--images 128] [--methods repq ...] [--bits 8 6 4] [--mixed 6 4 3] [--out FILE]

Every method at every width: top-1 in float with all quantizers, top-1 of the Program that the quantized model becomes,
on integers in clear, and what one secure inference of that takes. For each activation width of --mixed: MPTQ with 8
bits of weights and that width everywhere, and greedy mixed precision within what the dealer sends for it. Begun results
are continued.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

import mpcvit
from mpcvit import zoo
from mpcvit.cli.output import progress_console
from mpcvit.data.cifar10 import CIFAR10, load_cifar10
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.export.builder import Precision
from mpcvit.export.dealt_bytes import dealt_bytes
from mpcvit.export.exported import Exported
from mpcvit.export.vit import export_vit
from mpcvit.models.files import load_model
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.fast_cost import fast_cost
from mpcvit.program.objective import Objective, objective
from mpcvit.program.plan import make_plan
from mpcvit.program.reference import run_reference
from mpcvit.quantize import quantize
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.lower import lower
from mpcvit.quantize.mixed_precision import mixed_precision
from mpcvit.ring.fixed_point import encode
from mpcvit.train.accuracy import accuracy

_EXPORT_PICTURES = 512
_BATCH = 100
#: Weights of the mixed models, and where their activations begin and end.
_WIDE, _LOWEST = 8, 2


def main() -> None:
    """Measure what is missing, one row after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=zoo.DEFAULT)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=0, help="test pictures; 0 for all")
    parser.add_argument("--reference", type=int, default=2000, help="test pictures of the integer reference")
    parser.add_argument("--images", type=int, default=128, help="calibration pictures of the quantizers")
    parser.add_argument("--methods", nargs="+", default=[str(method) for method in Method])
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 6, 4])
    parser.add_argument("--mixed", nargs="*", type=int, default=[6, 4, 3])
    parser.add_argument("--network", default="wan", help="whose plan the costs are of")
    parser.add_argument("--out", type=Path, default=Path(f"benchmarks/results/{date.today()}-quantization.json"))
    arguments = parser.parse_args()
    model = load_model(zoo.folder(arguments.model))
    test, train = load_cifar10(arguments.data, "test"), load_cifar10(arguments.data, "train")
    test = test.spread(arguments.limit) if arguments.limit else test
    fewer = test.spread(min(arguments.reference, len(test)))
    few = normalise(train.spread(arguments.images).images, CIFAR10.mean, CIFAR10.std)
    many = normalise(train.spread(_EXPORT_PICTURES).images, CIFAR10.mean, CIFAR10.std)
    goal = objective(arguments.network)
    document = _begun(arguments.out) or {
        "command": f"python benchmarks/quantization.py --model {arguments.model} --data DIR --limit {arguments.limit} "
        f"--reference {arguments.reference} --images {arguments.images} --network {arguments.network}",
        "version": mpcvit.__version__,
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "model": arguments.model,
        "pictures": len(test),
        "reference_pictures": len(fewer),
        "calibration": arguments.images,
        "rows": [
            _row("float", accuracy(model, test, CIFAR10, torch.device("cpu")), export_vit(model, many), fewer, goal)
        ],
    }
    wanted = [(method, Bits(weight=bits, activation=bits)) for bits in arguments.bits for method in arguments.methods]
    wanted += [(Method.MPTQ, Bits(weight=_WIDE, activation=bits)) for bits in arguments.mixed]
    done = {row["name"] for row in document["rows"]}
    for method, bits in track(wanted, console=progress_console, description="methods and widths"):
        config = QuantizeConfig(method=Method(method), bits=bits)
        if _name(config) not in done:
            document["rows"].append(_quantized_row(model, config, few, many, (test, fewer), goal))
            arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    if arguments.mixed:
        rows = {row["name"]: row for row in document["rows"]}
        start = QuantizeConfig(method=Method.MPTQ, bits=Bits(weight=_WIDE, activation=_WIDE))
        cost = dealt_bytes(model, start, few, goal, _LOWEST)
        for bits in track(arguments.mixed, console=progress_console, description="mixed precision"):
            uniform = _name(replace(start, bits=Bits(weight=_WIDE, activation=bits)))
            name = f"{Method.MPTQ} mixed within {uniform}"
            if name not in rows:
                budget = sum(rows[uniform]["cost"]["material_bytes"])
                lowest = Bits(weight=_WIDE, activation=_LOWEST)
                config = mixed_precision(model, start, few, cost, budget, lowest)
                document["rows"].append({**_quantized_row(model, config, few, many, (test, fewer), goal), "name": name})
                arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    for row in document["rows"]:
        progress_console.print(
            f"{row['name']:32s} quantized {100 * row['quantized']:.2f} %  reference {100 * row['reference']:.2f} %  "
            f"{row['cost']['rounds']} rounds  {sum(row['cost']['material_bytes']) / 1e6:.1f} MB dealt"
        )


def _begun(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _name(config: QuantizeConfig) -> str:
    return f"{config.method} W{config.bits.weight}A{config.bits.activation}"


def _quantized_row(
    model: VisionTransformer,
    config: QuantizeConfig,
    few: torch.Tensor,
    many: torch.Tensor,
    tests: tuple[ImageSet, ImageSet],
    goal: Objective,
) -> dict[str, Any]:
    """Quantize, export and score: on the first test set with all quantizers, on the second on integers."""
    quantized = quantize(model, config, few)
    lowered = lower(quantized)
    exported = export_vit(lowered.model, many, Precision(steps=lowered.steps))
    top1 = accuracy(quantized, tests[0], CIFAR10, torch.device("cpu"))
    return {**_row(_name(config), top1, exported, tests[1], goal), "config": config.to_json()}


def _row(name: str, top1: float, exported: Exported, test: ImageSet, goal: Objective) -> dict[str, Any]:
    """One line of the table."""
    ((image, kind),) = exported.program.inputs.items()
    hits = 0
    for start in range(0, len(test), _BATCH):
        batch = test.subset(np.arange(start, min(start + _BATCH, len(test))))
        codes = encode(normalise(batch.images, CIFAR10.mean, CIFAR10.std).numpy(), kind.qtype)
        answers = run_reference(exported.program, exported.weights, {image: codes}).argmax(1)
        hits += int((answers == batch.labels).sum())
    cost = fast_cost(make_plan(exported.program, goal)).total
    return {"name": name, "quantized": top1, "reference": hits / len(test), "cost": asdict(cost)}


if __name__ == "__main__":
    main()
