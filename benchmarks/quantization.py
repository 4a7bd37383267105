"""How accurate is a model after each method of quantization, and what does the secure path keep of that?

    python benchmarks/quantization.py --model mpcvit_cifar10 --data data/cifar10 [--limit N] [--reference 2000]
        [--images 128] [--methods repq ...] [--bits 8 6 4] [--mixed 6 4 3] [--out FILE]

Every method at every width: top-1 in float with all quantizers, top-1 of the Program that the quantized model becomes,
on integers in clear, and what one secure inference of that takes. For each activation width of --mixed: MPTQ with 8
bits of weights and that width everywhere, and greedy mixed precision within what the dealer sends for it. These two are
to be compared on integers: with all quantizers the mixed model has 8 bits wherever fewer save nothing on shares, where
neither is rounded. Begun results are continued.
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
from torch import nn

import mpcvit
from mpcvit import zoo
from mpcvit.cli.output import progress_console
from mpcvit.data.cifar10 import CIFAR10, load_cifar10
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.engines.cost import Cost
from mpcvit.engines.masked.objective import objective
from mpcvit.export.exported import Exported
from mpcvit.export.normalisation import Normalisation
from mpcvit.export.quantized.exporter import QuantizedExport, QuantizedExporter
from mpcvit.export.vit import export_vit
from mpcvit.program.reference import run_reference
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.store.codec import plain
from mpcvit.store.trained import load_model, model_digest
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
    parser.add_argument("--out", type=Path, help="by default in benchmarks/results, by date and model")
    arguments = parser.parse_args()
    folder = zoo.folder(arguments.model)
    model, name = load_model(folder), folder.name
    out = arguments.out or Path(f"benchmarks/results/{date.today()}-quantization-{name}.json")
    test, train = load_cifar10(arguments.data, "test"), load_cifar10(arguments.data, "train")
    test = test.spread(arguments.limit) if arguments.limit else test
    fewer = test.spread(min(arguments.reference, len(test)))
    tests = test, fewer
    few = normalise(train.spread(arguments.images).images, CIFAR10.mean, CIFAR10.std)
    many = normalise(train.spread(_EXPORT_PICTURES).images, CIFAR10.mean, CIFAR10.std)
    header = {
        "command": f"python benchmarks/quantization.py --model {name} --data DIR --limit {arguments.limit} "
        f"--reference {arguments.reference} --images {arguments.images} --network {arguments.network}",
        "version": mpcvit.__version__,
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "model": name,
        "weights": model_digest(folder),
        "pictures": len(test),
        "reference_pictures": len(fewer),
        "calibration": arguments.images,
    }
    own = Normalisation(CIFAR10.mean, CIFAR10.std)
    exporter = QuantizedExporter(model, few, many, objective(arguments.network), normalisation=own)
    document = _begun(out, header)
    if document is None:
        whole = _row("float", model, export_vit(model, many, normalisation=own), exporter.real_cost(), tests)
        document = {**header, "rows": [whole]}
    wanted = [(method, Bits(weight=bits, activation=bits)) for bits in arguments.bits for method in arguments.methods]
    wanted += [(Method.MPTQ, Bits(weight=_WIDE, activation=bits)) for bits in arguments.mixed]
    done = {row["name"] for row in document["rows"]}
    for method, bits in track(wanted, console=progress_console, description="methods and widths"):
        config = QuantizeConfig(method=Method(method), bits=bits)
        if _name(config) not in done:
            document["rows"].append(_quantized_row(_name(config), exporter.export(config), tests))
            out.write_text(json.dumps(document, indent=1) + "\n")
    if arguments.mixed:
        rows = {row["name"]: row for row in document["rows"]}
        start = QuantizeConfig(method=Method.MPTQ, bits=Bits(weight=_WIDE, activation=_WIDE))
        widths = exporter.widths(start, Bits(weight=_WIDE, activation=_LOWEST))
        for bits in track(arguments.mixed, console=progress_console, description="mixed precision"):
            uniform = _name(replace(start, bits=Bits(weight=_WIDE, activation=bits)))
            mixed = f"{Method.MPTQ} mixed within {uniform}"
            if mixed not in rows:
                done = exporter.export_within(widths, sum(rows[uniform]["cost"]["material_bytes"]))
                document["rows"].append(_quantized_row(mixed, done, tests))
                out.write_text(json.dumps(document, indent=1) + "\n")
    for row in document["rows"]:
        progress_console.print(
            f"{row['name']:32s} quantized {100 * row['quantized']:.2f} % of {document['pictures']}, "
            f"{100 * row['quantized_there']:.2f} % of the reference's {document['reference_pictures']}, "
            f"reference {100 * row['reference']:.2f} %  "
            f"{row['cost']['rounds']} rounds  {sum(row['cost']['material_bytes']) / 1e6:.1f} MB dealt"
        )


def _begun(path: Path, header: dict[str, Any]) -> dict[str, Any] | None:
    """Return what ``path`` has of this very run."""
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text())
    if other := {name: document.get(name) for name, value in header.items() if document.get(name) != value}:
        raise SystemExit(f"{path} is of another run: {other}. Give another --out, or delete it.")
    return document


def _name(config: QuantizeConfig) -> str:
    return f"{config.method} W{config.bits.weight}A{config.bits.activation}"


def _quantized_row(name: str, done: QuantizedExport, tests: tuple[ImageSet, ImageSet]) -> dict[str, Any]:
    """Return a line of the table for a quantized model."""
    return {**_row(name, done.model, done.exported, done.cost, tests), "config": plain(done.config)}


def _row(
    name: str, model: nn.Module, exported: Exported, cost: Cost, tests: tuple[ImageSet, ImageSet]
) -> dict[str, Any]:
    """Return one line of the table: the model scored on both test sets, its Program on the second."""
    (image,) = exported.program.inputs
    test, hits = tests[1], 0
    for start in range(0, len(test), _BATCH):
        batch = test.subset(np.arange(start, min(start + _BATCH, len(test))))
        pixels = batch.images.transpose(0, 3, 1, 2).astype(np.int64)
        answers = run_reference(exported.program, exported.weights, {image: pixels}).argmax(1)
        hits += int((answers == batch.labels).sum())
    top1, there = (accuracy(model, one, CIFAR10, torch.device("cpu")) for one in tests)
    return {
        "name": name,
        "quantized": top1,
        "quantized_there": there,
        "reference": hits / len(test),
        "cost": asdict(cost),
    }


if __name__ == "__main__":
    main()
