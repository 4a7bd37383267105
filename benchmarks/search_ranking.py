"""Does the search's price rank configurations as their measured latency does?

    python benchmarks/search_ranking.py [--network wan] [--turns 3] [--runs 3] [--out FILE] [--fit FILE ...]

Ten configurations of one size, from the most expensive heads and activations to the cheapest, get random weights. They
are exported and timed by mpcvit.measure.latency: real parties and a real dealer, as processes of this machine, turn by
turn, so that slow minutes of the machine hit all of them. The JSON written holds every prediction beside its
measurement, Spearman's rank correlation, and the seconds' relative errors. A WAN and a LAN are emulated and need root.

``--fit FILE ...`` measures nothing: it fits mpcvit.pricing.rates.RATES to measurements of earlier runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.stats import spearmanr

import mpcvit
from mpcvit.cli.output import progress_console
from mpcvit.export.vit import export_vit
from mpcvit.link_profile import LinkProfile, link_profile
from mpcvit.measure.latency import Latency, measure_latency
from mpcvit.models.block import BlockConfig, Gate
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis, Norm
from mpcvit.models.random_weights import NOISE_MEAN, NOISE_STD
from mpcvit.models.sizes import vit_6_4_32
from mpcvit.pricing.random_export import PRECISION, random_images, random_weights
from mpcvit.pricing.rates import RATES
from mpcvit.pricing.table import PriceTable
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.trained import save_model

_SM, _RS, _SC = AttentionKind.SOFTMAX, AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING
_Q2, _LIN = AttentionKind.QUAD2, AttentionKind.LINFORMER
_GELU, _RELU, _NONE = Activation.GELU, Activation.RELU, Activation.IDENTITY
_DEPTH = 4


def _config(
    heads: Sequence[AttentionKind], activation: Activation, *, dim: int = 128, hidden: int = 256, **fields: Any
) -> ViTConfig:
    """Return four blocks, all alike, of the size of ``mpcvit_6_4_32``: 64 tokens of width 128."""
    block = BlockConfig(heads=tuple(heads), activation=activation, hidden=hidden, **fields)
    return replace(vit_6_4_32(heads[0], activation), dim=dim, blocks=(block,) * _DEPTH)


#: What is ranked: kinds of heads, mixtures, activations, gates, norms and widths all occur.
CONFIGS = {
    "softmax.gelu": _config([_SM] * 4, _GELU),
    "softmax.relu": _config([_SM] * 4, _RELU),
    "2quad.gelu": _config([_Q2] * 4, _GELU),
    "relu_softmax.relu": _config([_RS] * 4, _RELU),
    "half.relu": _config([_RS, _RS, _SC, _SC], _RELU),
    "half.batchnorm": _config([_RS, _RS, _SC, _SC], _RELU, norms=(Norm.LAYERNORM, Norm.BATCHNORM)),
    "quarter_softmax.gated": _config(
        [_SM, _SC, _SC, _SC], _GELU, gate=Gate(axis=GateAxis.TOKEN, kept=tuple(range(16)))
    ),
    "scaling.relu": _config([_SC] * 4, _RELU),
    "scaling.identity": _config([_SC] * 4, _NONE),
    "narrow.scaling.identity": _config([_SC] * 4, _NONE, dim=64, hidden=64),
}


def export(config: ViTConfig, folder: Path) -> None:
    """Write the model of ``config`` with random weights into ``folder``."""
    model = random_weights(config)
    exported = export_vit(model, random_images(config), PRECISION)
    labels = tuple(f"class{index}" for index in range(config.classes))
    mean, std = (NOISE_MEAN,) * config.channels, (NOISE_STD,) * config.channels
    description = Description(name=folder.name, version="random", labels=labels, mean=mean, std=std)
    ModelFolder(description, exported.program, exported.weights).save(folder)
    save_model(model, folder)


def measure(profile: LinkProfile, turns: int, runs: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return predicted and measured seconds of every configuration; measured is the median over all turns' runs."""
    prices = PriceTable(profile)
    measured: dict[str, list[Latency]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="mpcvit-ranking-") as scratch:
        for name in names:
            export(CONFIGS[name], Path(scratch) / name)
        for turn in range(turns):
            for name in names:
                latency = measure_latency(Path(scratch) / name, "fast", profile, runs)
                measured[name].append(latency)
                progress_console.print(f"{profile.name}, turn {turn + 1}: {name} took {latency.online_s:.3f} s")
    rows = []
    for name in names:
        price, first = prices.price(CONFIGS[name]), measured[name][0]
        seconds = [one for latency in measured[name] for one in latency.online_s_all]
        rows.append(
            {
                "name": name,
                "predicted_s": price.seconds,
                "measured_s": median(seconds),
                "measured_s_all": seconds,
                "rounds": {"predicted": price.rounds, "counted": first.rounds},
                "bytes_sent": {"predicted": price.bytes_sent, "counted": first.bytes_sent[0]},
                "amounts": asdict(prices.amounts(CONFIGS[name]).total),
            }
        )
    return rows


def summary(profile: LinkProfile, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the rows with what they amount to."""
    predicted = np.array([row["predicted_s"] for row in rows])
    measured = np.array([row["measured_s"] for row in rows])
    errors = predicted / measured - 1
    return {
        "date": date.today().isoformat(),
        "machine": {
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "torch": torch.__version__,
        },
        "mpcvit": mpcvit.__version__,
        "network": profile.name,
        "spearman": float(spearmanr(predicted, measured).statistic),
        "relative_error": {"mean": float(np.abs(errors).mean()), "worst": float(np.abs(errors).max())},
        "rates": asdict(RATES),
        "configurations": rows,
    }


def fit(documents: list[dict[str, Any]]) -> dict[str, float]:
    """Return non-negative rates that minimise relative errors over all measurements."""
    names = ("message_s", "delay", "byte_s", "mac_s", "gate", "step_s", "element_s")
    rows = []
    for document in documents:
        profile = link_profile(document["network"])
        for row in document["configurations"]:
            amounts = row["amounts"]
            network = amounts["rounds"] * profile.delay_s + amounts["bytes_sent"] / profile.bytes_per_s
            factors = [amounts["rounds"], amounts["rounds"] * profile.delay_s, amounts["bytes_sent"], amounts["macs"]]
            factors += [amounts["gate_s"], amounts["steps"], amounts["elements"]]
            # errors relative to the software's share, so that a WAN's delays do not drown it
            rows.append(np.array(factors) / (row["measured_s"] - network))
    matrix = np.array(rows)
    norms = np.maximum(np.linalg.norm(matrix, axis=0), 1e-30)
    solution, _ = nnls(matrix / norms, np.ones(len(rows)))
    return {name: float(value) for name, value in zip(names, solution / norms, strict=True)}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="loopback")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3, help="timed inferences per turn")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--fit", nargs="+", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.fit:
        document: dict[str, Any] = fit([json.loads(path.read_text()) for path in arguments.fit])
    else:
        profile = link_profile(arguments.network)
        document = summary(profile, measure(profile, arguments.turns, arguments.runs, arguments.only))
    text = json.dumps(document, indent=1) + "\n"
    if arguments.out:
        arguments.out.write_text(text)
    print(text)  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
