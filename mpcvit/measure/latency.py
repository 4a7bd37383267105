"""Latency of secure inference: parties, dealer and client as processes of this machine, on an emulated network."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from mpcvit.data.image_set import ImageSet
from mpcvit.engines.masked.ring_matmul import ring_matmul
from mpcvit.errors import InternalError
from mpcvit.link_profile import LinkProfile
from mpcvit.measure.accuracy import float_logits
from mpcvit.measure.client_process import ClientProcess
from mpcvit.measure.network.namespaces import EmulatedNetwork, Host
from mpcvit.program.program import Program
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import share_model
from parties.local.cluster import CLIENT_ROLE, LocalCluster
from parties.local.scratch_folder import scratch_folder

PARTIES = 2
#: Rounds before the online clock starts.
_SETUP_ROUNDS = {"fast": 2, "stock": 1}
_CORES = 2


@dataclass(frozen=True, kw_only=True)
class Latency:
    """What was measured; times in seconds, bytes of payload.

    Attributes:
        online_s, offline_s: medians over the runs; ``online_s_all`` all of them. The slower party's, per run.
        client_s: median of what the client waited, material that was not ready included.
        rounds, bytes_sent, material_bytes: exact, of one inference; bytes per party.
        max_abs_logit_diff: to the float model, over all runs.
        argmax_match: whether every run's label is the float model's.
        floor_s: what the network and the ring products alone would take online: rounds (but for the setup's) times
            one-way delay, bytes of one party over bandwidth, products at this machine's measured peak.
        peak_memory_bytes: per party: largest resident set of its process.
    """

    model: str
    engine: str
    network: str
    runs: int
    online_s: float
    online_s_all: list[float]
    offline_s: float
    client_s: float
    rounds: int
    bytes_sent: list[int]
    material_bytes: list[int]
    max_abs_logit_diff: float
    argmax_match: bool
    floor_s: float
    peak_memory_bytes: list[int]


def measure_latency(
    folder: Path,
    engine: str,
    profile: LinkProfile,
    runs: int,
    *,
    objective: str = "",
    warmup: int = 1,
    advance: Callable[[str], None] = lambda what: None,
) -> Latency:
    """Time ``runs`` inferences of an exported model, one at a time, after ``warmup`` others.

    Every party runs on one core of its own, as far as there are cores; the dealer shares party 1's.

    Raises:
        ConfigError: the network cannot be emulated here; the message says what it needs.
        NotRevealed: the model reveals no label.
        MpcvitError: an inference failed.
    """
    model = ModelFolder.load(folder)
    model.description.check_ranked("a comparison of labels")
    advance("sharing the weights")
    with scratch_folder("mpcvit-bench-") as where, EmulatedNetwork(profile, PARTIES + 2) as net:
        _, shares = share_model(model, PARTIES, where / "shares")
        roles = [*(f"party{index}" for index in range(PARTIES)), "dealer", CLIENT_ROLE]
        hosts = dict(zip(roles, net.hosts, strict=True))
        overrides: dict[str, Any] = {
            "engine": engine,
            "objective": objective or profile.name,
            "limits": {"prefetch_mib": 2048},
        }
        pinned = {role: _pinned(hosts[role], index % _CORES) for index, role in enumerate(roles[:-1])}
        advance("starting dealer and parties")
        with LocalCluster(shares, where, overrides=overrides, hosts=pinned) as cluster:
            pixels = _picture(model)
            np.save(where / "pictures.npy", pixels[None])
            lines = _infer(cluster, hosts[CLIENT_ROLE], where / "pictures.npy", warmup + runs, advance)
            memory = [_peak_memory(cluster.processes[f"party{index}"].pid) for index in range(PARTIES)]
    return _summary(folder, model, engine, profile, pixels, lines[warmup:], memory)


def joined(turns: Sequence[Latency]) -> Latency:
    """Return several measurements of one model on one network as one: medians over all of their runs.

    Of ``offline_s`` and ``client_s``, of which a measurement keeps no single runs, the median of medians.
    """
    online = [one for turn in turns for one in turn.online_s_all]
    return replace(
        turns[0],
        runs=len(online),
        online_s=median(online),
        online_s_all=online,
        offline_s=median(turn.offline_s for turn in turns),
        client_s=median(turn.client_s for turn in turns),
        max_abs_logit_diff=max(turn.max_abs_logit_diff for turn in turns),
        argmax_match=all(turn.argmax_match for turn in turns),
        floor_s=min(turn.floor_s for turn in turns),
        peak_memory_bytes=[max(one) for one in zip(*(turn.peak_memory_bytes for turn in turns), strict=True)],
    )


def _summary(
    folder: Path,
    model: ModelFolder,
    engine: str,
    profile: LinkProfile,
    pixels: np.ndarray,
    lines: list[dict[str, Any]],
    memory: list[int],
) -> Latency:
    image = ImageSet(pixels[None], np.zeros(1, dtype=np.int64), model.description.labels)
    plain = float_logits(folder, image)[0]
    logits = np.array([line["logits"] for line in lines])
    online = [max(stats["online_s"] for stats in line["stats"]) for line in lines]
    stats = lines[0]["stats"]
    sent = [party["bytes_sent"] for party in stats]
    online_rounds = stats[0]["rounds"] - _SETUP_ROUNDS[engine]
    return Latency(
        model=model.description.name,
        engine=engine,
        network=profile.name,
        runs=len(lines),
        online_s=median(online),
        online_s_all=online,
        offline_s=median(max(stats["offline_s"] for stats in line["stats"]) for line in lines),
        client_s=median(line["seconds"] for line in lines),
        rounds=stats[0]["rounds"],
        bytes_sent=sent,
        material_bytes=[party["material_bytes"] for party in stats],
        max_abs_logit_diff=float(np.abs(logits - plain).max()),
        argmax_match=bool((logits.argmax(1) == plain.argmax()).all()),
        floor_s=online_rounds * profile.delay_s + max(sent) / profile.bytes_per_s + _products_s(model.program),
        peak_memory_bytes=memory,
    )


def _infer(
    cluster: LocalCluster, host: Host, pictures: Path, count: int, advance: Callable[[str], None]
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    with ClientProcess(cluster.client_config, pictures, count=count, command=host.command) as client:
        client.wait_ready()
        for line in client.infer():
            if "error" in line:
                raise InternalError(
                    f"an inference that failed: {line['message']}",
                    expected=f"{count} inferences",
                    remedy="Run 'mpcvit demo' with the same model to see more.",
                )
            lines.append(line)
            advance(f"inference {len(lines)} of {count}")
    return lines


def _picture(model: ModelFolder) -> np.ndarray:
    """Return noise of the model's size, uint8 RGB."""
    channels, height, width = next(iter(model.program.inputs.values())).shape
    pixels: np.ndarray = np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return pixels


def _pinned(host: Host, core: int) -> Host:
    """Return ``host``, its processes bound to one core where the system can do that."""
    tool = shutil.which("taskset")
    prefix = (*host.prefix, tool, "-c", str(core)) if tool else host.prefix
    return Host(host.address, host.interface, prefix)


def _peak_memory(pid: int) -> int:
    """Return the largest resident set of a process, bytes; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def _products_s(program: Program) -> float:
    """Return the seconds that the Program's ring products take on one core at the peak rate measured now."""
    macs = sum(node.op.macs(program.input_types(node)) for node in program.nodes)
    left = torch.from_numpy(np.random.default_rng(0).integers(-(2**62), 2**62, (64, 256)))
    right = torch.from_numpy(np.random.default_rng(1).integers(-(2**62), 2**62, (256, 512)))
    ring_matmul(left, right)  # compiled now
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        ring_matmul(left, right)
        seconds.append(time.perf_counter() - start)
    return macs * min(seconds) / (64 * 256 * 512)
