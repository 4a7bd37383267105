"""Secure inference under load: parties, dealer and many clients as processes of this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.measure.accuracy import Answers, reference_answers
from mpcvit.measure.client_process import ClientProcess
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import share_model
from parties.local.cluster import LocalCluster
from parties.local.scratch_folder import scratch_folder

PARTIES = 2
#: Different pictures that are asked for.
_PICTURES = 8
#: By how much a logit may miss the reference's, which rounds where parties round at random.
_TOLERANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class Load:
    """What was measured.

    Attributes:
        clients: processes, each with a certificate of its own and one request at a time.
        requests: made, by all clients together.
        answered: of these, answered.
        wrong: of these, with another label than the reference, or a logit that misses the reference's by more than 0.1.
        overloaded: refused with ``OVERLOADED``.
        errors: failed otherwise.
        p50_s, p99_s: seconds that a client waited for an answer: median, and the 99th percentile (nearest rank); None
            without answers.
        pictures_per_s: answers per second, from the first request to the last answer.
        offline_s: median seconds until a session's correlated randomness was there, at the slower party; None without
            answers.
    """

    clients: int
    requests: int
    answered: int
    wrong: int
    overloaded: int
    errors: int
    p50_s: float | None
    p99_s: float | None
    pictures_per_s: float
    offline_s: float | None


def measure_load(
    folder: Path,
    clients: int,
    requests: int,
    *,
    queue: int | None = None,
    advance: Callable[[str], None] = lambda what: None,
) -> tuple[Load, list[str]]:
    """Return what ``clients`` see who ask again as soon as they have an answer, and one message per kind of failure.

    The parties are warm: one inference has been made before.

    Args:
        folder: an exported model.
        requests: in all; shared among the clients as evenly as possible.
        queue: sessions that may wait at the parties; as many as there are clients if None.

    Raises:
        ConfigError: fewer requests than clients.
    """
    if requests < clients:
        raise ConfigError(
            f"{requests} requests for {clients} clients",
            expected="at least one request for each",
            remedy="Correct --requests or --clients.",
        )
    model = ModelFolder.load(folder)
    advance("the reference")
    pixels = _pictures(model)
    labels = np.zeros(len(pixels), dtype=np.int64)
    reference = reference_answers(folder, ImageSet(pixels, labels, model.description.labels))
    with scratch_folder("mpcvit-load-") as where, ExitStack() as stack:
        advance("sharing the weights")
        _, shares = share_model(model, PARTIES, where / "shares")
        np.save(where / "pictures.npy", pixels)
        overrides = {"limits": {"queue": clients if queue is None else queue}}
        advance("starting dealer and parties")
        cluster = stack.enter_context(LocalCluster(shares, where, overrides=overrides, clients=clients))
        advance("a first inference")
        with ClientProcess(cluster.client_config, where / "pictures.npy", count=1) as first:
            first.wait_ready()
            list(first.infer())
        processes = [
            stack.enter_context(
                ClientProcess(
                    config,
                    where / "pictures.npy",
                    first=number,
                    count=requests // clients + (number < requests % clients),
                )
            )
            for number, config in enumerate(cluster.client_configs)
        ]
        lines, seconds = _run(processes, requests, advance)
    messages = {line["error"]: line["message"] for line in lines if "error" in line}
    return summary(lines, seconds, clients, reference), list(messages.values())


def summary(lines: Sequence[dict[str, Any]], seconds: float, clients: int, reference: Answers) -> Load:
    """Return what the clients' reports say; see :meth:`~mpcvit.measure.client_process.ClientProcess.infer`."""
    answers = [line for line in lines if "error" not in line]
    refused = sum(line.get("error") == "OVERLOADED" for line in lines)
    waited = sorted(line["seconds"] for line in answers)
    return Load(
        clients=clients,
        requests=len(lines),
        answered=len(answers),
        wrong=sum(not _right(line, reference) for line in answers),
        overloaded=refused,
        errors=len(lines) - len(answers) - refused,
        p50_s=median(waited) if waited else None,
        p99_s=waited[math.ceil(0.99 * len(waited)) - 1] if waited else None,
        pictures_per_s=len(answers) / seconds,
        offline_s=median(max(stats["offline_s"] for stats in line["stats"]) for line in answers) if answers else None,
    )


def _run(
    processes: Sequence[ClientProcess], requests: int, advance: Callable[[str], None]
) -> tuple[list[dict[str, Any]], float]:
    """Return all clients' reports, and the seconds from the first request to the last report."""
    lines: list[dict[str, Any]] = []

    def collect(process: ClientProcess) -> None:
        for line in process.infer():
            lines.append(line)
            advance(f"request {len(lines)} of {requests}")

    advance(f"starting {len(processes)} clients")
    for process in processes:
        process.wait_ready()
    start = time.perf_counter()
    with ThreadPoolExecutor(len(processes)) as readers:
        list(readers.map(collect, processes))
    return lines, time.perf_counter() - start


def _right(line: dict[str, Any], reference: Answers) -> bool:
    if line["label"] != reference.labels[line["picture"]]:
        return False
    if line["logits"] is None or reference.logits is None:
        return True
    difference = np.abs(np.asarray(line["logits"]) - reference.logits[line["picture"]])
    return bool(difference.max() <= _TOLERANCE)


def _pictures(model: ModelFolder) -> np.ndarray:
    """Return noise of the model's size, uint8 [count, height, width, 3]."""
    height, width = model.picture_size
    noise: np.ndarray = np.random.default_rng(7).integers(0, 256, (_PICTURES, height, width, 3), dtype=np.uint8)
    return noise
