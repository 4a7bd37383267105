"""What the benchmarks of all peers share: options, processes of the parties on a network, and the line of results."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from models import ACTIVATIONS, ATTENTIONS, MODELS, Array, Gelu, reference

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the peers' environments are without mpcvit
from mpcvit.errors import MpcvitError
from mpcvit.link_profile import PROFILES, link_profile
from mpcvit.measure.network import EmulatedNetwork, Host

POLL_S = 0.1


@dataclass
class Run:
    """One inference as one party saw it.

    Attributes:
        seconds: wall time.
        cpu_s: processor time of the party's process.
        busy_s: processor time of the whole machine meanwhile.
        rounds, bytes_sent: as the peer counts them; README.md says how.
    """

    seconds: float
    cpu_s: float
    busy_s: float
    rounds: int = 0
    bytes_sent: float = 0


@dataclass
class Measured:
    """What a party reports: its runs, the warm-up first."""

    runs: list[Run] = field(default_factory=list)

    def save(self, folder: Path, party: int) -> None:
        """Write it where the driver looks."""
        (folder / f"party{party}.json").write_text(json.dumps([asdict(run) for run in self.runs]))

    @classmethod
    def load(cls, folder: Path, party: int) -> Measured:
        """Return what ``party`` saved."""
        return cls([Run(**run) for run in json.loads((folder / f"party{party}.json").read_text())])


def parser(description: str | None, protocols: Sequence[str]) -> argparse.ArgumentParser:
    """Options that all peers have; the first protocol is the default."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--protocol", choices=protocols, default=protocols[0])
    options.add_argument("--model", choices=list(MODELS), default="vit_7_4_32")
    options.add_argument("--attention", choices=ATTENTIONS, default="softmax")
    options.add_argument("--activation", choices=ACTIVATIONS, default="gelu")
    options.add_argument("--network", choices=list(PROFILES), default="loopback")
    options.add_argument("--runs", type=int, default=3, help="timed inferences")
    options.add_argument("--warmup", type=int, default=1, help="inferences before these")
    options.add_argument("--keep", type=Path, help="folder for logs and results of the parties, to look into")
    options.add_argument("--party", type=int, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--addresses", nargs="*", default=[], help=argparse.SUPPRESS)
    return options


@contextmanager
def scratch(options: argparse.Namespace) -> Iterator[Path]:
    """Give a folder for this benchmark."""
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        yield options.keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="peer-") as folder:
            yield Path(folder)


def pin(party: int) -> None:
    """Keep this process on one core of its own; a helper beyond the last core runs where there is room."""
    if party < (os.cpu_count() or 1):
        os.sched_setaffinity(0, {party})


def run_parties(
    options: argparse.Namespace,
    folder: Path,
    parties: int,
    environment: Callable[[int, Host], dict[str, str]] = lambda party, host: {},
    port: int = 0,
) -> None:
    """Start this script once per party, each on a host of the network, and wait for all.

    Ends the program with the log's end if one fails.
    """
    with EmulatedNetwork(link_profile(options.network), parties) as network:
        addresses = [f"{host.address}:{port + party}" for party, host in enumerate(network.hosts)]
        processes = []
        try:
            for party, host in enumerate(network.hosts):
                command = [
                    sys.executable,
                    *sys.argv,
                    f"--party={party}",
                    f"--folder={folder}",
                    "--addresses",
                    *addresses,
                ]
                with (folder / f"party{party}.log").open("wb") as log:
                    processes.append(
                        subprocess.Popen(  # noqa: S603  # this script
                            host.command(command),
                            stdout=log,
                            stderr=subprocess.STDOUT,
                            env={**os.environ, "OMP_NUM_THREADS": "1", **environment(party, host)},
                        )
                    )
            _wait(processes, folder)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _wait(processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    while any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes):
            break
        time.sleep(POLL_S)
    for party, process in enumerate(processes):
        if process.poll():
            log = (folder / f"party{party}.log").read_text(errors="replace")
            raise SystemExit(f"party {party} ended with status {process.returncode}:\n{log[-3000:]}")


def busy_s() -> float:
    """Processor seconds that the machine has spent so far on anything, summed over cores."""
    with Path("/proc/stat").open() as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@contextmanager
def timed(run: Run) -> Iterator[None]:
    """Fill in the times of ``run``."""
    busy, cpu, start = busy_s(), time.process_time(), time.perf_counter()
    yield
    run.seconds, run.cpu_s, run.busy_s = time.perf_counter() - start, time.process_time() - cpu, busy_s() - busy


def report(
    options: argparse.Namespace,
    peer: str,
    parties: list[Measured],
    output: Array,
    *,
    gelu: Gelu,
    caveat: str | None,
    packages: Sequence[str],
) -> None:
    """Print one JSON line.

    Args:
        options: of this benchmark.
        peer: name of the system.
        parties: what the computing parties measured.
        output: of the last inference.
        gelu: the formula that the peer uses.
        caveat: why the protocol is not secure as configured; None if it is.
        packages: whose versions to state.
    """
    runs = list(zip(*(party.runs[options.warmup :] for party in parties), strict=True))
    seconds = [max(view.seconds for view in run) for run in runs]
    other = [(run[0].busy_s - sum(view.cpu_s for view in run)) / run[0].seconds for run in runs]
    model = MODELS[options.model]
    exact = reference(model, options.attention, options.activation)
    same = reference(model, options.attention, options.activation, gelu)
    result: dict[str, Any] = {
        "peer": peer,
        "protocol": options.protocol,
        "insecure_because": caveat,
        "model": options.model,
        "attention": options.attention,
        "activation": options.activation,
        "network": options.network,
        "seconds": {"median": round(median(seconds), 3), "all": [round(value, 3) for value in seconds]},
        "rounds": max(view.rounds for view in runs[-1]),
        "bytes_sent": round(sum(view.bytes_sent for view in runs[-1])),
        "cpu_s": [round(median(run.cpu_s for run in party.runs[options.warmup :]), 2) for party in parties],
        "other_cores": [round(max(0.0, value), 2) for value in other],
        "max_abs_logit_diff": _digits(np.abs(output - exact).max()),
        "max_abs_logit_diff_same_gelu": _digits(np.abs(output - same).max()),
        "argmax_match": bool(output.argmax() == exact.argmax()) if model.classes else None,
        "versions": {"python": sys.version.split()[0], **{package: version(package) for package in packages}},
    }
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def _digits(value: float) -> float:
    return float(f"{value:.3g}")


def main(options: argparse.Namespace, drive: Callable[[Any], None], party: Callable[[Any], None]) -> None:
    """Be the driver, or one of the parties that it starts."""
    if options.party is not None:
        party(options)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that parties are ended
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries in C++ talk to descriptor 1
    try:
        drive(options)
    except MpcvitError as error:
        raise SystemExit(str(error)) from error
