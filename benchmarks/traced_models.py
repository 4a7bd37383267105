"""Which models of timm's can be exported, and what an inference of each costs; random weights, nothing is downloaded.

    python benchmarks/traced_models.py [NAME ..] [--images 2] [--limit 1800] [--again] [--out FILE]
    python benchmarks/traced_models.py --table --out FILE

Each model goes through ``mpcvit model export --timm NAME --noise`` and ``mpcvit cost``, at its own size, in a process
of its own. The file is written after each; names that it has already are left out, so that a stopped run goes on.
``--table`` prints what the file has as the table of docs/modules.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

import mpcvit
from mpcvit.cli.output import progress_console

#: By family, models of timm's that mpcvit has no importer for.
FAMILIES = {
    "deit3_small_patch16_224": "DeiT III",
    "vit_medium_patch16_reg4_gap_256": "ViT with registers",
    "beit_base_patch16_224": "BEiT",
    "cait_xxs24_224": "CaiT",
    "pit_ti_224": "PiT",
    "convnext_atto": "ConvNeXt",
    "mixer_s32_224": "MLP-Mixer",
    "swin_tiny_patch4_window7_224": "Swin",
    "pvt_v2_b0": "PVT v2",
    "tiny_vit_5m_224": "TinyViT",
    "coat_lite_tiny": "CoaT",
    "twins_pcpvt_small": "Twins",
    "twins_svt_small": "Twins",
    "davit_tiny": "DaViT",
    "gcvit_xxtiny": "GC ViT",
    "poolformer_s12": "PoolFormer",
    "crossvit_tiny_240": "CrossViT",
    "eva02_tiny_patch14_224": "EVA-02",
    "hiera_tiny_224": "Hiera",
    "nest_tiny": "NesT",
    "mvitv2_tiny": "MViT v2",
    "focalnet_tiny_srf": "FocalNet",
    "xcit_nano_12_p16_224": "XCiT",
    "edgenext_xx_small": "EdgeNeXt",
    "maxvit_tiny_tf_224": "MaxViT",
    "levit_128s": "LeViT",
    "visformer_tiny": "Visformer",
    "mobilevit_s": "MobileViT",
    "nextvit_small": "Next-ViT",
    "repvit_m0_9": "RepViT",
    "convit_tiny": "ConViT",
}
_MIB = 2**20
#: Characters of an error in the table.
_SHOWN = 160


def measure(name: str, images: int, limit: float) -> dict[str, Any]:
    """Return the row of one model: what export says and an inference costs, or why there is no export.

    Args:
        images: pictures of noise to calibrate on.
        limit: seconds after which an export is given up.
    """
    row: dict[str, Any] = {"model": name, "family": FAMILIES.get(name, name.partition("_")[0])}
    options = ["--images", str(images), "--stock-wraps", "inf"]
    row["export"] = " ".join(
        ["mpcvit model export --timm", name, "--noise", *options, "--out runs/traced --name traced"]
    )
    with tempfile.TemporaryDirectory(prefix="mpcvit-traced-") as folder:
        out = Path(folder, "model")
        words = ["model", "export", "--timm", name, "--noise", *options, "--out", str(out), "--name", "traced"]
        start = time.perf_counter()
        exported = _command([*words, "--json"], limit)
        row["export_s"] = round(time.perf_counter() - start, 1)
        if "error" in exported:
            return {**row, **exported}
        ranges = exported["ranges"]
        row |= {
            "real_difference": exported["fidelity"],
            "nodes": exported["nodes"],
            "proven": ranges["proven"],
            "calibrated": ranges["calibrated"],
            "program_sha256": exported["program_sha256"],
        }
        cost = _command(["cost", "--model", str(out), "--json"], limit)
        if "error" in cost:
            return {**row, **cost}
        fields = ("rounds", "bytes_sent", "material_bytes", "macs", "comparisons")
        return {**row, **{field: cost[field] for field in fields}, "weight_bytes": cost["weight_bytes"]}


def _command(words: list[str], limit: float) -> dict[str, Any]:
    """Return what a command of mpcvit's prints with ``--json``, or its error."""
    command = [sys.executable, "-m", "mpcvit.cli", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)  # noqa: S603  # this package's own
    except subprocess.TimeoutExpired:
        return {"error": {"reason": "TIMEOUT", "got": f"no result within {limit:g} seconds"}}
    if done.returncode and not done.stdout:
        last = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"error": {"reason": "CRASH", "got": last}}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def table(document: dict[str, Any]) -> str:
    """Return the rows of a document as Markdown: models that could be exported, then those that could not."""
    good = sorted((row for row in document["rows"] if "rounds" in row), key=lambda row: row["family"].lower())
    bad = sorted((row for row in document["rows"] if "rounds" not in row), key=lambda row: row["family"].lower())
    lines = [
        "| family | model | real difference | ranges | nodes | rounds | MiB sent by each | MiB dealt | export, s |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in good:
        ranges = "proven" if not row["calibrated"] else f"calibrated at {row['calibrated']}"
        sent, dealt = row["bytes_sent"][0] / _MIB, sum(row["material_bytes"]) / _MIB
        cells = [row["family"], f"`{row['model']}`", f"{row['real_difference']:.0e}", ranges, str(row["nodes"])]
        cells += [str(row["rounds"]), f"{sent:,.0f}", f"{dealt:,.0f}", f"{row['export_s']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    if bad:
        lines += ["", "| family | model | why not |", "|---|---|---|"]
        lines += [f"| {row['family']} | `{row['model']}` | {_reason(row['error'])} |" for row in bad]
    return "\n".join(lines)


def _reason(error: dict[str, Any]) -> str:
    """Return the beginning of what was found."""
    got = str(error["got"])
    return (got if len(got) < _SHOWN else f"{got[:_SHOWN]} ..").replace("|", "\\|")


def main() -> None:
    """Measure every model that the file has not, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="NAME", help="of timm's; default: one or two of each family")
    parser.add_argument("--images", type=int, default=2, help="pictures of noise to calibrate on")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which an export is given up")
    parser.add_argument("--again", action="store_true", help="measure names again that the file has")
    parser.add_argument("--table", action="store_true", help="print the file as Markdown")
    parser.add_argument("--out", type=Path, default=Path(f"benchmarks/results/{date.today()}-traced-models.json"))
    arguments = parser.parse_args()
    document: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else _header()
    if arguments.table:
        print(table(document))  # noqa: T201 - its purpose
        return
    rows: dict[str, Any] = {row["model"]: row for row in document["rows"]}
    names: list[str] = arguments.models or list(FAMILIES)
    for name in track([name for name in names if arguments.again or name not in rows], console=progress_console):
        rows[name] = measure(name, arguments.images, arguments.limit)
        document["rows"] = list(rows.values())
        arguments.out.write_text(json.dumps(document, indent=1) + "\n")


def _header() -> dict[str, Any]:
    return {
        "date": str(date.today()),
        "version": mpcvit.__version__,
        "command": "python benchmarks/traced_models.py",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; export on one core",
        "weights": "random, seed 0",
        "pictures": "noise",
        "plan": "fast engine, objective wan",
        "rows": [],
    }


if __name__ == "__main__":
    main()
