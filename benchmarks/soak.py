"""Clients that ask for an hour while faults come at random: answers, errors, memory, descriptors; JSON and a plot.

    PYTHONPATH=. python benchmarks/soak.py OUT.json [--model NAME] [--minutes 60] [--clients 2] [--rate 0.01]

A request in a hundred is preceded by a fault: a process is stopped for seconds or killed and started again, a link is
reset or held, the disk of a ledger is full for seconds (that one needs root). After each fault the time to the next
answer counts, without a restart of what did not die.

OUT.json is written every 30 s. A run that was interrupted goes on when it is started again with the same file. OUT.png
shows memory and answers over time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mpcvit import zoo
from mpcvit.errors import MpcvitError
from tests.support.deployment import TOLERANCE, Deployment
from tests.support.tcp_proxy import TcpProxy

_SAMPLE_S = 5.0
_WRITE_S = 30.0
_RECOVERY_S = 10.0
#: So long a recovery is waited for; then it has failed.
_PATIENCE_S = 120.0


@dataclass
class Soak:
    """What was seen so far.

    Attributes:
        seconds: of soaking, over all parts of the run.
        outcomes: how many requests ended how: ``right``, ``WRONG`` or an error's reason.
        untyped: errors that are none of ours; there should be none.
        latencies_s: of right answers, by minute: median and largest.
        faults: what was done, when, how long it lasted, and how long after its end the next answer came; None if none
            came within two minutes.
        samples: time, and per role threads, descriptors and MiB.
    """

    model: str
    rate: float
    clients: int
    pause_s: float
    seconds: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    untyped: list[str] = field(default_factory=list)
    latencies_s: list[tuple[float, float]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return the numbers that count: slopes are over the last half, of the process that was there longest."""
        half = [sample for sample in self.samples if sample["t"] > self.seconds / 2]
        slopes = {role: _slopes(half, role) for role in ("party0", "party1", "dealer")}
        recoveries = [fault["recovered_s"] for fault in self.faults if fault["recovered_s"] is not None]
        return {
            "minutes": round(self.seconds / 60, 1),
            "requests": sum(self.outcomes.values()),
            "wrong": self.outcomes.get("WRONG", 0),
            "untyped": len(self.untyped),
            "faults": dict(Counter(fault["kind"] for fault in self.faults)),
            "slowest_recovery_s": round(max(recoveries, default=0.0), 2),
            "recoveries_above_10_s": sum(seconds > _RECOVERY_S for seconds in recoveries),
            "failed_recoveries": len(self.faults) - len(recoveries),
            "slopes_last_half": slopes,
        }


def _slopes(samples: list[dict[str, Any]], role: str) -> dict[str, float] | None:
    """MiB, descriptors and threads an hour of the process that was there longest; None if that was too short."""
    found = [(sample["t"], sample["roles"][role]) for sample in samples if role in sample["roles"]]
    if not found:
        return None
    ((longest, _),) = Counter(usage["pid"] for _, usage in found).most_common(1)
    own = [(at, usage) for at, usage in found if usage["pid"] == longest]
    if len(own) < 6:
        return None
    times = np.array([at for at, _ in own])
    return {
        f"{name}_per_hour": round(float(np.polyfit(times, [float(usage[key]) for _, usage in own], 1)[0]) * 3600, 1)
        for name, key in (("mib", "resident_mib"), ("descriptors", "descriptors"), ("threads", "threads"))
    }


class Faults:
    """One fault at a time, each ended before it returns."""

    def __init__(self, deployment: Deployment, disk: Path | None) -> None:
        self._deployment = deployment
        self._disk = disk
        self._rng = np.random.default_rng()
        self._kinds: dict[str, Callable[[], object]] = {
            "stop party0": lambda: self._stop("party0"),
            "stop party1": lambda: self._stop("party1"),
            "stop dealer": lambda: self._stop("dealer"),
            "restart dealer": lambda: self._restart("dealer"),
            "restart party1": lambda: self._restart("party1"),
            "reset p0-p1": deployment.links["party0-party1"].reset,
            "reset client-p0": deployment.links["client-party0"].reset,
            "reset p1-dealer": deployment.links["party1-dealer"].reset,
            "hold p0-p1": lambda: self._hold("party0", "party1"),
            "hold p0-dealer": lambda: self._hold("party0", "dealer"),
        }
        if disk is not None:
            self._kinds["full disk"] = self._fill

    def one(self) -> str:
        """Do one, for some seconds, and end it; its name."""
        kind = str(self._rng.choice(list(self._kinds)))
        self._kinds[kind]()
        return kind

    def _some_seconds(self) -> float:
        return self._rng.uniform(1, 8)

    def _stop(self, role: str) -> None:
        self._deployment.signal(role, signal.SIGSTOP)
        time.sleep(self._some_seconds())
        self._deployment.signal(role, signal.SIGCONT)

    def _restart(self, role: str) -> None:
        self._deployment.signal(role, signal.SIGKILL)
        time.sleep(self._some_seconds())
        self._deployment.cluster.start(role)
        self._deployment.cluster.wait_ready(role)

    def _hold(self, one: str, other: str) -> None:
        self._deployment.partition(one, other)
        time.sleep(self._some_seconds())
        for link in self._deployment.links.values():
            link.heal()

    def _fill(self) -> None:
        assert self._disk is not None  # noqa: S101 - chosen only with a disk
        filler = self._disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(self._disk).free // 4096 * 4096))
        time.sleep(self._some_seconds())
        filler.unlink()


class Run:
    """One part of a soak, until its time is over."""

    def __init__(self, soak: Soak, deployment: Deployment, faults: Faults, minutes: float, out: Path) -> None:
        self._soak, self._deployment, self._faults, self._out = soak, deployment, faults, out
        self._begun, self._before = time.monotonic(), soak.seconds
        self._end = self._begun + minutes * 60 - soak.seconds
        self._lock = threading.Lock()
        self._rng = np.random.default_rng()
        self._due = threading.Event()
        self._recent: list[float] = []

    def all(self) -> None:
        """Ask, hurt, sample and write until the time is over.

        Raises:
            Exception: what went wrong in a thread; whatever was seen until then is written.
        """
        with ThreadPoolExecutor(self._soak.clients + 1) as threads:
            asking = [threads.submit(self._ask, number) for number in range(self._soak.clients)]
            hurting = threads.submit(self._hurt)
            try:
                self._watch(asking, hurting)
            finally:
                self._end = min(self._end, time.monotonic())
                self._due.set()
        self._write()
        for thread in (*asking, hurting):
            thread.result()
        self._deployment.recover()
        self._deployment.require_recovery()
        self._deployment.require_single_use()
        self._sample()
        self._write()

    def _watch(self, asking: list[Future[None]], hurting: Future[None]) -> None:
        """Sample and write until all have asked enough, or something went wrong."""
        written = time.monotonic()
        while not all(one.done() for one in asking) and not hurting.done():
            time.sleep(_SAMPLE_S)
            self._sample()
            if time.monotonic() - written > _WRITE_S:
                written = time.monotonic()
                self._write()

    @property
    def _over(self) -> bool:
        return time.monotonic() > self._end

    def _ask(self, number: int) -> None:
        while not self._over:
            if self._rng.random() < self._soak.rate:
                self._due.set()
            start = time.monotonic()
            reason, untyped = self._one(number % 4)
            with self._lock:
                self._soak.outcomes[reason] = self._soak.outcomes.get(reason, 0) + 1
                self._soak.untyped += untyped
                if reason == "right":
                    self._recent.append(time.monotonic() - start)
            time.sleep(self._soak.pause_s if reason == "right" else max(0.2, self._soak.pause_s))

    def _one(self, picture: int) -> tuple[str, list[str]]:
        try:
            with self._deployment.client() as client:
                answer = client.infer(self._deployment.pictures[picture], deadline_s=30)
        except MpcvitError as error:
            return error.reason, []
        except Exception as error:  # what must never happen is what is looked for
            return "UNTYPED", [f"{type(error).__name__}: {error}"[:300]]
        wrong = np.abs(answer.logits - self._deployment.right[picture]).max() > TOLERANCE
        return ("WRONG" if wrong else "right"), []

    def _hurt(self) -> None:
        while True:
            self._due.wait()
            if self._over:
                return
            begun = time.monotonic()
            kind = self._faults.one()
            ended = time.monotonic()
            try:
                recovered: float | None = round(self._deployment.require_recovery(_PATIENCE_S).seconds, 2)
            except AssertionError:
                recovered = None
            self._due.clear()
            record = {"kind": kind, "t": self._at(begun), "lasted_s": round(ended - begun, 2)}
            with self._lock:
                self._soak.faults.append({**record, "recovered_s": recovered})

    def _at(self, moment: float) -> float:
        return round(self._before + moment - self._begun, 1)

    def _sample(self) -> None:
        roles = {role: asdict(usage) for role, usage in self._deployment.usage().items()}
        with self._lock:
            self._soak.seconds = self._at(time.monotonic())
            self._soak.samples.append({"t": self._soak.seconds, "roles": roles})
            if len(self._soak.latencies_s) < self._soak.seconds // 60 and self._recent:
                self._soak.latencies_s.append((float(np.median(self._recent)), max(self._recent)))
                self._recent.clear()

    def _write(self) -> None:
        with self._lock:
            document = {"summary": self._soak.summary(), **asdict(self._soak)}
        partial = self._out.with_suffix(".partial")
        partial.write_text(json.dumps(document, indent=1))
        partial.replace(self._out)


def plot(soak: Soak, path: Path) -> None:
    """Memory per role over time, with the faults, and answers' latencies."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    memory, latency = figure.subplots(2, 1, sharex=True)
    for role in ("party0", "party1", "dealer"):
        found = [
            (sample["t"] / 60, sample["roles"][role]["resident_mib"])
            for sample in soak.samples
            if role in sample["roles"]
        ]
        memory.plot(*zip(*found, strict=True), label=role)
    for fault in soak.faults:
        memory.axvline(fault["t"] / 60, color="0.85", zorder=0)
    memory.set(
        ylabel="resident memory, MiB",
        title=f"{soak.model}: {sum(soak.outcomes.values())} requests, {len(soak.faults)} faults",
    )
    memory.legend()
    minutes = range(1, len(soak.latencies_s) + 1)
    for index, name in enumerate(("median", "slowest")):
        latency.plot(minutes, [pair[index] for pair in soak.latencies_s], label=name)
    latency.set(xlabel="minutes", ylabel="right answers, s", yscale="log")
    latency.legend()
    figure.savefig(path, dpi=120)


def _small_disk(folder: Path) -> Path | None:
    """Mount a small file system for a ledger, that a fault can fill; None without the right to mount one."""
    folder.mkdir(parents=True)
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        return None
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False)  # noqa: S603
    return folder if done.returncode == 0 else None


def main() -> None:
    """Soak, write and plot."""
    parser = argparse.ArgumentParser(description="Clients that ask while faults come at random.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default=zoo.DEFAULT)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--pause", type=float, default=0, help="seconds that a client waits between two requests")
    options = parser.parse_args()
    soak = Soak(options.model, options.rate, options.clients, options.pause)
    if options.out.exists():
        known = json.loads(options.out.read_text())
        known.pop("summary")
        soak = Soak(**known)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        disk = _small_disk(folder / "state/party1")
        try:
            with TcpProxy() as proxy, Deployment(zoo.folder(options.model), folder, proxy) as deployment:
                Run(soak, deployment, Faults(deployment, disk), options.minutes, options.out).all()
        finally:
            if disk is not None:
                subprocess.run(["umount", "--lazy", str(disk)], check=False)  # noqa: S603, S607
    plot(soak, options.out.with_suffix(".png"))
    print(json.dumps(soak.summary(), indent=1))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
