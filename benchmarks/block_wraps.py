"""Many secure runs of one block of a model on real pictures: how far from the reference, and did any truncation wrap?

    python benchmarks/block_wraps.py --data DIR [--model NAME] [--block 1] [--runs 200] > benchmarks/results/NAME.json

Two parties are threads of this process over memory links; randomness is fresh from the operating system in every run.
A wrap in any truncation moves values by at least 2^(64 - bits) codes, far outside the block's value bounds.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from mpcvit import zoo
from mpcvit.cli.output import progress_console
from mpcvit.data.image_set import load_folder
from mpcvit.engines.crypten import simulate
from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.program.program import Node, Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes, decode
from mpcvit.ring.prg import SEED_BYTES
from mpcvit.store.exported import ModelFolder

PARTIES = 2


def part(program: Program, nodes: tuple[Node, ...]) -> Program:
    """Return the sub-Program of ``nodes``.

    What they read from outside becomes its input, their last value its output.
    """
    made = {node.name for node in nodes}
    read = {name for node in nodes for name in node.inputs} - made
    parameters = {name: kind for name, kind in program.parameters.items() if name in read}
    return Program({name: program.types[name] for name in read - parameters.keys()}, parameters, nodes, nodes[-1].name)


def run_secure(program: Program, weights: dict[str, Codes], inputs: dict[str, Codes]) -> Codes:
    """Return the output codes of one run on shares."""
    return simulate.run(program, weights, inputs, secrets.token_bytes(SEED_BYTES), parties=PARTIES).output


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="image folder with a 'test' part")
    parser.add_argument("--model", default=zoo.DEFAULT)
    parser.add_argument("--block", type=int, default=1, help="from 0")
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    model = ModelFolder.load(zoo.folder(arguments.model))
    names = [node.name.partition(".")[0] for node in model.program.nodes]
    start = names.index(f"block{arguments.block}")
    stop = len(names) - names[::-1].index(f"block{arguments.block}")
    before, block = (part(model.program, model.program.nodes[a:b]) for a, b in ((0, start), (start, stop)))

    def weights(program: Program) -> dict[str, Codes]:
        return {name: model.weights[name] for name in program.parameters}

    pictures = load_folder(arguments.data / "test").spread(arguments.runs)
    pixels = pictures.images.transpose(0, 3, 1, 2).astype(np.int64)
    (image,) = before.inputs
    values = run_reference(before, weights(before), {image: pixels})
    (source,) = block.inputs
    expected = run_reference(block, weights(block), {source: values})

    frac = block.types[block.output].frac
    differences = []
    for run in track(range(arguments.runs), "secure runs", console=progress_console, transient=True):
        got = run_secure(block, weights(block), {source: values[run]})
        differences.append(float(np.abs(decode(got - expected[run], frac)).max()))
    bounds = block.types[block.output].qtype
    result = {
        "model": model.description.name,
        "program_sha256": model.program.digest,
        "block": arguments.block,
        "runs": arguments.runs,
        "largest_difference": max(differences),
        "median_difference": float(np.median(differences)),
        "value_bounds": [bounds.lo, bounds.hi],
        "wraps_seen": sum(difference > bounds.hi - bounds.lo for difference in differences),
        "wrap_probability_per_run_bound": stock_cost(block, PARTIES).wrap_probability,
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
