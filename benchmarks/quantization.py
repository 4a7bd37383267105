"""How accurate is a model after each method of quantization, and what does the secure path keep of that?

    python benchmarks/quantization.py --model vit_cifar10_first --data data/cifar10 [--limit N] [--images 128]
        [--methods repq ...] [--bits 8 6 4] [--out FILE]

Every method at every width: top-1 in float with all quantizers, top-1 of the Program that the quantized model becomes,
on integers in clear, and what one secure inference of that takes. Begun results are continued.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
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
from mpcvit.export.exported import Exported
from mpcvit.export.vit import export_vit
from mpcvit.models.files import load_model
from mpcvit.program.fast_cost import fast_cost
from mpcvit.program.objective import objective
from mpcvit.program.plan import make_plan
from mpcvit.program.reference import run_reference
from mpcvit.quantize import quantize
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.lower import lower
from mpcvit.ring.fixed_point import encode
from mpcvit.train.accuracy import accuracy

_EXPORT_PICTURES = 512
_BATCH = 100


def main() -> None:
    """Measure what is missing, one row after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=zoo.DEFAULT)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=0, help="test pictures; 0 for all")
    parser.add_argument("--images", type=int, default=128, help="calibration pictures of the quantizers")
    parser.add_argument("--methods", nargs="+", default=[str(method) for method in Method])
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 6, 4])
    parser.add_argument("--network", default="wan", help="whose plan the costs are of")
    parser.add_argument("--out", type=Path, default=Path(f"benchmarks/results/{date.today()}-quantization.json"))
    arguments = parser.parse_args()
    model = load_model(zoo.folder(arguments.model))
    test, train = load_cifar10(arguments.data, "test"), load_cifar10(arguments.data, "train")
    test = test.spread(arguments.limit) if arguments.limit else test
    few = normalise(train.spread(arguments.images).images, CIFAR10.mean, CIFAR10.std)
    many = normalise(train.spread(_EXPORT_PICTURES).images, CIFAR10.mean, CIFAR10.std)
    document = _begun(arguments.out) or {
        "command": f"python benchmarks/quantization.py --model {arguments.model} --limit {arguments.limit}",
        "version": mpcvit.__version__,
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "model": arguments.model,
        "pictures": len(test),
        "calibration": arguments.images,
        "rows": [_row("float", 32, accuracy(model, test, CIFAR10, torch.device("cpu")), export_vit(model, many), test)],
    }
    done = {(row["method"], row["bits"]) for row in document["rows"]}
    wanted = [(method, bits) for bits in arguments.bits for method in arguments.methods if (method, bits) not in done]
    for method, bits in track(wanted, console=progress_console, description="methods and widths"):
        config = QuantizeConfig(method=Method(method), bits=Bits(weight=bits, activation=bits))
        quantized = quantize(model, config, few)
        lowered = lower(quantized)
        exported = export_vit(lowered.model, many, Precision(steps=lowered.steps))
        top1 = accuracy(quantized, test, CIFAR10, torch.device("cpu"))
        document["rows"].append(_row(method, bits, top1, exported, test, arguments.network))
        arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    for row in document["rows"]:
        progress_console.print(
            f"{row['method']:13s} W{row['bits']}A{row['bits']}  quantized {100 * row['quantized']:.2f} %  "
            f"reference {100 * row['reference']:.2f} %  {row['cost']['rounds']} rounds"
        )


def _begun(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _row(
    method: str, bits: int, top1: float, exported: Exported, test: ImageSet, network: str = "wan"
) -> dict[str, Any]:
    """One line of the table."""
    ((name, kind),) = exported.program.inputs.items()
    hits = 0
    for start in range(0, len(test), _BATCH):
        batch = test.subset(np.arange(start, min(start + _BATCH, len(test))))
        codes = encode(normalise(batch.images, CIFAR10.mean, CIFAR10.std).numpy(), kind.qtype)
        answers = run_reference(exported.program, exported.weights, {name: codes}).argmax(1)
        hits += int((answers == batch.labels).sum())
    cost = fast_cost(make_plan(exported.program, objective(network))).total
    return {"method": method, "bits": bits, "quantized": top1, "reference": hits / len(test), "cost": asdict(cost)}


if __name__ == "__main__":
    main()
