"""A teacher's answers on disk (TinyViT, Wu et al., ECCV 2022): a few per augmented picture, for any number of students.

An epoch's batches are drawn from seeds of their own, so that they are the same pictures, in the same order, with the
same augmentation, whenever and for whichever student they are asked for (:class:`ReplayedBatches`). So a teacher has to
look at them once: of what it says, the largest probabilities are kept, as float16, with their classes
(:class:`StoredLogits`). What is left to 1 counts as spread evenly over the other classes, as in the source.

Files: ``logits.json``, which says what the pictures are, and ``epoch<n>.safetensors`` with ``probabilities`` and
``classes`` [pictures, k].

Axes: B batch, K stored classes, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.store.whole_file import whole_file, write_whole

prepare_torchvision()

from timm.utils import random_seed  # noqa: E402

STORE_FILE = "logits.json"

Labelled = tuple[torch.Tensor, torch.Tensor]
Epochs = Callable[[int], Iterator[Labelled]]


@dataclass(frozen=True, kw_only=True)
class StoredLogitsSettings:
    """How much is kept.

    Attributes:
        top: classes per picture, at least 1; 10 of 1,000 classes and 100 of 22,000 in TinyViT. All, if there are fewer.

    Raises:
        ConfigError: it is not positive.
    """

    top: int = 10

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ConfigError(
                f"{self.top} stored classes per picture", expected="at least 1", remedy="Correct stored_logits.top."
            )


@dataclass(frozen=True)
class ReplayedBatches:
    """The batches of each epoch, the same ones at every call, whatever else draws random numbers in between.

    Attributes:
        epochs: gives the batches of an epoch, anew at each call.
        mix: what is then done to a batch, mixup for instance.
        seed: of all of them.
    """

    epochs: Epochs
    mix: Callable[[int, Labelled], Labelled]
    seed: int

    def epoch(self, number: int) -> Iterator[Labelled]:
        """Return the batches of epoch ``number``, mixed."""
        batches, step = self.epochs(number), 0
        while True:
            with _seeded(self.seed, number, step):
                batch = next(batches, None)
                if batch is None:
                    return
                batch = self.mix(number, batch)
            yield batch
            step += 1


@contextmanager
def _seeded(*numbers: int) -> Iterator[None]:
    """Draw from the stream that ``numbers`` name, within the block; Python's, numpy's and torch's."""
    python = _python_random()
    before = python.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]) & 0x7FFFFFFF)
        try:
            yield
        finally:
            python.setstate(before[0])
            np.random.set_state(before[1])


def _python_random() -> Any:
    """Return Python's module of this name: what timm's augmentation draws from, which nothing secret ever does."""
    import random  # noqa: TID251

    return random


class StoredLogits:
    """The answers in ``folder``, written where they are missing.

    Args:
        identity: everything that determines the pictures, and the teacher, as JSON.
        teacher: gives logits [B, C]; None if all epochs that are asked for are there.
        top: K at most.

    Raises:
        ConfigError: the folder holds answers to other pictures, of another teacher, or of another number of classes.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], teacher: nn.Module | None, top: int) -> None:
        self._folder, self._teacher, self._top = folder, teacher, top
        known = {**identity, "top": top}
        path = folder / STORE_FILE
        if path.exists():
            _check(path, known, with_teacher=teacher is not None)
        elif teacher is None:
            raise _no_teacher(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(known, indent=1) + "\n")

    def epoch(self, number: int, batches: ReplayedBatches, classes: int) -> Iterator[Labelled]:
        """Yield the batches of an epoch, with the teacher's distributions [B, C] as targets.

        Raises:
            ConfigError: the epoch is not there, and there is no teacher.
            ModelFileError: its file is damaged.
        """
        path = self._folder / f"epoch{number:04}.safetensors"
        if not path.exists():
            self._write(path, number, batches)
        try:
            stored = load_file(path)
            probabilities, chosen = stored["probabilities"], stored["classes"].long()
        except (OSError, KeyError, SafetensorError) as error:
            raise _damaged(path) from error
        start = 0
        for images, _ in batches.epoch(number):
            part = slice(start, start + len(images))
            start += len(images)
            if start > len(chosen):
                raise _damaged(path)
            yield images, spread(probabilities[part].to(images.device), chosen[part].to(images.device), classes)

    @torch.no_grad()
    def _write(self, path: Path, number: int, batches: ReplayedBatches) -> None:
        if self._teacher is None:
            raise _no_teacher(path)
        self._teacher.eval()
        found = []
        for images, _ in batches.epoch(number):
            logits = self._teacher.to(images.device)(images).float()
            found.append(logits.softmax(dim=-1).topk(min(self._top, logits.shape[-1]), dim=-1))
        tensors = {
            "probabilities": torch.cat([best.values for best in found]).half().cpu(),
            "classes": torch.cat([best.indices for best in found]).short().cpu(),
        }
        with whole_file(path) as partial:
            save_file(tensors, partial)


def spread(probabilities_BK: torch.Tensor, classes_BK: torch.Tensor, classes: int) -> torch.Tensor:
    """Return distributions [B, C] with what is left to 1 spread evenly over the classes that are not stored."""
    known = probabilities_BK.float()
    left = (1 - known.sum(dim=1, keepdim=True)).clamp(min=0)
    even = left / max(classes - known.shape[1], 1)
    return even.expand(-1, classes).scatter(1, classes_BK, known)


def _check(path: Path, known: dict[str, Any], *, with_teacher: bool) -> None:
    """Raise ConfigError unless what is stored at ``path`` answers what ``known`` says."""
    try:
        stored = json.loads(path.read_text())
        differing = [name for name in {**stored, **known} if stored.get(name) != known.get(name)]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _damaged(path) from error
    if not with_teacher:
        differing = [name for name in differing if name != "teacher"]
    if differing:
        raise ConfigError(
            f"{path.parent}, which holds a teacher's answers with other {', '.join(sorted(differing))}",
            expected="answers to the pictures of this run",
            remedy="Choose another folder with --teacher-logits, or the configuration that these were made with.",
        )


def _no_teacher(path: Path) -> ConfigError:
    return ConfigError(
        f"no answers of a teacher in {path}",
        expected="all epochs of this run, or a teacher that answers",
        remedy="Give the teacher's folder with --teacher.",
    )


def _damaged(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path}, which is damaged or of another run",
        expected="the file that 'mpcvit train' wrote",
        remedy="Delete it, and give the teacher with --teacher, which then answers again.",
    )
