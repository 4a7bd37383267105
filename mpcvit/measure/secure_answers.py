"""What real parties answer, picture by picture; kept in a file, so that a run that was broken off goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpcvit.client import Client
from mpcvit.client.result import Inference
from mpcvit.data.image_set import ImageSet
from mpcvit.inputs.read import as_source
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import share_model
from parties.local.cluster import LocalCluster
from parties.local.scratch_folder import scratch_folder


@dataclass(frozen=True, kw_only=True)
class SecureAnswer:
    """One inference.

    Attributes:
        label: the likeliest class.
        logits: per class; None if the model reveals none.
        online_s, offline_s: of the slowest party.
        rounds: the same at every party.
        bytes_sent, material_bytes: per party.
        seconds: wall time; the first one of a run also waited for the parties to start.
    """

    label: int
    logits: list[float] | None
    online_s: float
    offline_s: float
    rounds: int
    bytes_sent: list[int]
    material_bytes: list[int]
    seconds: float

    @classmethod
    def of(cls, inference: Inference, seconds: float) -> SecureAnswer:
        """Return what is kept of ``inference``."""
        return cls(
            label=inference.ranking[0],
            logits=inference.logits.tolist() if inference.reveal.logits else None,
            online_s=inference.online_s,
            offline_s=inference.offline_s,
            rounds=inference.rounds,
            bytes_sent=[stats.bytes_sent for stats in inference.stats],
            material_bytes=[stats.material_bytes for stats in inference.stats],
            seconds=seconds,
        )

    def line(self) -> str:
        """Return all of it as a line of JSON."""
        return json.dumps(asdict(self)) + "\n"


def secure_answers(
    folder: Path,
    images: ImageSet,
    *,
    parties: int = 2,
    overrides: Mapping[str, Any] | None = None,
    advance: Callable[[int], None] = lambda n: None,
    kept: Path | None = None,
) -> list[SecureAnswer]:
    """Return one inference per picture by real parties and a real dealer, all processes of this machine.

    Args:
        overrides: replace parts of every party's configuration.
        kept: a file that gets every answer at once; answers that it has, to the first of the same pictures by the same
            model, are not repeated.
    """
    answers = [] if kept is None else _read(kept)
    advance(len(answers))
    rest = images.subset(np.arange(len(answers), len(images)))
    start = time.perf_counter()
    with closing(_inferences(folder, rest, parties, overrides)) as inferences:
        for inference in inferences:
            now = time.perf_counter()
            answers.append(SecureAnswer.of(inference, now - start))
            start = now
            if kept is not None:
                with kept.open("a") as file:
                    file.write(answers[-1].line())
            advance(1)
    return answers


def _inferences(
    folder: Path, images: ImageSet, parties: int, overrides: Mapping[str, Any] | None
) -> Generator[Inference]:
    if not len(images):
        return
    with scratch_folder("mpcvit-eval-") as scratch:
        model = ModelFolder.load(folder)
        _, shares = share_model(model, parties, scratch / "shares")
        cluster = LocalCluster(shares, scratch, overrides=overrides)
        with cluster, Client.from_config(cluster.client_config) as client:
            for image in images.images:
                yield client.infer(image if model.reads_rgb else as_source(image, model.input))


def _read(path: Path) -> list[SecureAnswer]:
    """Return the answers in ``path``, to the first line that was not written to its end.

    It and the rest are taken off.
    """
    answers: list[SecureAnswer] = []
    if path.exists():
        with suppress(ValueError, TypeError):
            for line in path.read_text().splitlines():
                answers.append(SecureAnswer(**json.loads(line)))
        path.write_text("".join(answer.line() for answer in answers))
    return answers
