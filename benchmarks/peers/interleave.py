"""Run several benchmarks in turn, again and again, and compare their medians.

    export SPU=ENVIRONMENTS/spu/bin/python CRYPTEN=ENVIRONMENTS/crypten/bin/python
    python benchmarks/peers/interleave.py --times 3 --out RESULTS.json \\
        --run 'ours=mpcvit bench latency --model MODEL --network wan --runs 1 --json' \\
        --run 'spu=$SPU benchmarks/peers/bench_spu.py --network wan --runs 1' \\
        --run 'crypten=$CRYPTEN benchmarks/peers/bench_crypten.py --network wan --runs 1'

In turn, so that a machine that is slower for a while is so for all. A command prints one JSON object with ``online_s``
or ``seconds``, and perhaps ``offline_s``: a number, a list, or an object with ``all``. Commands are recorded as given,
with variables unexpanded: keep paths of the machine in variables.

The first run is the baseline: ``slower`` says how many times its median the others take. The file is written after
every command; one that fails is noted and the rest go on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

Record = dict[str, Any]
_PACKAGES = ("mpcvit", "torch", "numpy", "grpcio", "crypten")
_ONLINE = ("online_s", "seconds")


def machine() -> Record:
    """Return what the numbers depend on; nothing that names the machine."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def measure(command: str) -> Record:
    """Return the last JSON object that ``command`` prints, or ``{"error": ...}``."""
    words = shlex.split(os.path.expandvars(command))
    result = subprocess.run(words, capture_output=True, text=True)  # noqa: S603  # what the caller asked for
    lines = result.stdout.splitlines()
    for start in reversed(range(len(lines))):
        if lines[start].startswith("{") and result.returncode == 0:
            try:
                return dict(json.loads("\n".join(lines[start:])))
            except ValueError:
                break
    return {"error": f"status {result.returncode}: {(result.stderr or result.stdout).strip()[-500:]}"}


def values(record: Record, *names: str) -> list[float]:
    """All measurements of the first of these fields that the record has."""
    field = next((record[name] for name in names if record.get(name) is not None), [])
    if isinstance(field, dict):
        field = field.get("all", field.get("median"))
    return [float(value) for value in (field if isinstance(field, list) else [field])]


def summary(name: str, command: str, records: list[Record]) -> Record:
    """Medians over all turns of one command, and what the last one said besides."""
    good = [record for record in records if "error" not in record]
    online = [value for record in good for value in values(record, *_ONLINE)]
    offline = [value for record in good for value in values(record, "offline_s")]
    result: Record = {"name": name, "command": command, "errors": [r["error"] for r in records if "error" in r]}
    if online:
        result["seconds"] = {"median": round(median(online), 4), "all": online}
    if offline:
        result["offline_s"] = {"median": round(median(offline), 4), "all": offline}
    if good:
        result["last"] = good[-1]
    return result


def slower(runs: list[Record]) -> Record:
    """By name, the median relative to the baseline's, alone and with the baseline's offline part added."""
    base = runs[0].get("seconds", {}).get("median")
    if not base:
        return {}
    whole = base + runs[0].get("offline_s", {}).get("median", 0.0)
    return {
        run["name"]: {
            "than_online": round(run["seconds"]["median"] / base, 2),
            "than_online_and_offline": round(run["seconds"]["median"] / whole, 2),
        }
        for run in runs[1:]
        if "seconds" in run
    }


def _named(text: str) -> tuple[str, str]:
    name, separator, command = text.partition("=")
    if not separator or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=COMMAND")
    return name, command


def main() -> None:
    """Run everything and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", type=_named, required=True, metavar="NAME=COMMAND", dest="runs")
    parser.add_argument("--times", type=int, default=3, help="turns")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    commands: dict[str, str] = dict(options.runs)
    records: dict[str, list[Record]] = {name: [] for name in commands}
    for turn in range(options.times):
        for name, command in commands.items():
            load = os.getloadavg()[0]
            record = measure(command)
            records[name].append(record)
            spoken = record.get("error") or values(record, *_ONLINE)
            sys.stderr.write(f"turn {turn + 1} of {options.times}, {name}: {spoken} (load before: {load:.2f})\n")
            runs = [summary(key, commands[key], records[key]) for key in commands]
            document = {
                "date": time.strftime("%Y-%m-%d"),
                "machine": machine(),
                "turns": options.times,
                "runs": runs,
                "slower": slower(runs),
            }
            options.out.write_text(json.dumps(document, indent=1) + "\n")
    if any("error" in record for kept in records.values() for record in kept):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
