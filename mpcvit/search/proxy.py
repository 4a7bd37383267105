"""Training a candidate, and stopping early where more would not change its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from mpcvit.data.image_set import ImageSet
from mpcvit.models.config import ViTConfig
from mpcvit.store.codec import plain
from mpcvit.store.trained import model_digest, read_architecture
from mpcvit.store.whole_file import write_whole
from mpcvit.train.checkpoint import CHECKPOINT_FILE
from mpcvit.train.config import ObjectiveName, TrainConfig
from mpcvit.train.recorder import LOG_FILE
from mpcvit.train.run import train as run

_OUTCOME_FILE = "outcome.json"
#: By how much a rival must lead at the same epoch, at no higher price, for a trial to be given up.
_LEAD = 0.15
#: Share of a training before which nothing is given up: curves cross early on.
_GRACE = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a training went.

    Attributes:
        curve: accuracy on held-out training pictures after every epoch.
    """

    curve: list[float]

    @property
    def accuracy(self) -> float:
        """After the last epoch that was run."""
        return self.curve[-1]


@dataclass(frozen=True)
class Rival:
    """A finished trial, as far as others compare with it."""

    seconds: float
    curve: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """The training of one configuration.

    Attributes:
        training: everything but the architecture.
        folder: of all trials of the search.
        teacher: folder of a trained model to learn from, or None.
        seconds, rivals: of this configuration, and what finished before: a trial that is clearly behind is given up.
    """

    config: ViTConfig
    training: TrainConfig
    images: ImageSet
    folder: Path
    device: str = "auto"
    teacher: Path | None = None
    seconds: float = 0.0
    rivals: tuple[Rival, ...] = ()

    @property
    def run(self) -> TrainConfig:
        """The training with the architecture in it. Without a teacher nothing is distilled."""
        run = _of(self.training, self.config)
        if self.teacher is None:
            return replace(run, objective=ObjectiveName.CROSS_ENTROPY, before=None)
        teacher = read_architecture(self.teacher)
        if not isinstance(teacher, ViTConfig) or teacher.dim != self.config.dim:
            # tokens of another width cannot be compared
            return replace(run, objective=ObjectiveName.DISTILLATION, token_weight=0.0, before=None)
        if run.objective == ObjectiveName.CROSS_ENTROPY:
            return replace(run, objective=ObjectiveName.DISTILLATION)
        return run

    @property
    def own_folder(self) -> Path:
        """Where this training lives: one folder per configuration, training and teacher, wherever that one lies."""
        teacher = None if self.teacher is None else model_digest(self.teacher)
        digest = hashlib.sha256(json.dumps([plain(self.run), teacher], sort_keys=True).encode())
        return self.folder / digest.hexdigest()[:16]


def _of(training: TrainConfig, config: ViTConfig) -> TrainConfig:
    """Return ``training`` of that architecture, in all its stages."""
    before = None if training.before is None else _of(training.before, config)
    return replace(training, model="trial", architecture=config, before=before)


def train(job: Job) -> Outcome:
    """Return the outcome of ``job``: at once if it was finished before, from its checkpoint if it was begun."""
    folder = job.own_folder
    kept = folder / _OUTCOME_FILE
    if kept.exists():
        return Outcome(json.loads(kept.read_text())["curve"])
    curve = _begun(folder)

    def after_epoch(done: int, model: nn.Module, line: Mapping[str, float]) -> None:
        curve[done - 1 :] = [line["validation"]]
        if hopeless(curve, job.training.total_epochs, job.seconds, job.rivals):
            raise _GivenUp

    with quiet(folder), suppress(_GivenUp):
        run(
            job.run,
            job.images,
            folder,
            teacher=job.teacher,
            device=job.device,
            workers=0,
            after_epoch=after_epoch,
        )
    write_whole(kept, json.dumps({"curve": curve}) + "\n")
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)  # the largest file, and of no more use
    return Outcome(curve)


def hopeless(curve: list[float], epochs: int, seconds: float, rivals: tuple[Rival, ...]) -> bool:
    """Return whether some rival that is no more expensive was clearly better after as many epochs."""
    done = len(curve)
    if done < max(_GRACE * epochs, 2):
        return False
    return any(
        rival.seconds <= seconds and len(rival.curve) >= done and rival.curve[done - 1] > curve[-1] + _LEAD
        for rival in rivals
    )


@contextmanager
def quiet(folder: Path) -> Iterator[None]:
    """Send what training writes to standard error to ``folder/train.log``: the terminal shows the search."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.log").open("a") as log, redirect_stderr(log):
        yield


class _GivenUp(Exception):
    """Ends a training that would not matter."""


def _begun(folder: Path) -> list[float]:
    """Return the curve of the epochs that a checkpoint has behind it."""
    log = folder / LOG_FILE
    if not log.exists():
        return []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    by_epoch = {int(line["epoch"]): float(line["validation"]) for line in lines}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]
