"""How good are answers of every kind on pictures made of CIFAR-10's, in float, on integers in clear and on shares?

    python benchmarks/answers.py --data data/cifar10 [--train 3000] [--limit 500] [--secure 20] [--out FILE]

Mosaics are four pictures at half their size, one in each quarter. The shipped model's blocks stay as they are; only
heads are trained: one that scores every class of a mosaic (``scores``, ``tags``), one that labels each patch (``map``).
``match`` compares the shipped model's logits of whole pictures with those of one picture of a class each; the
threshold is the one that is best on training pictures. Its classes were seen in training; the pictures were not.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import mpcvit
from mpcvit import zoo
from mpcvit.cli.output import progress_console
from mpcvit.client import Client
from mpcvit.client.answers import ANSWERS, Answer, Scores, Vector
from mpcvit.data.cifar10 import CIFAR10, load_cifar10
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.export.model import export_model
from mpcvit.export.normalisation import Normalisation
from mpcvit.models.backbones import FloatModel
from mpcvit.models.segmenter import Segmenter, SegmenterConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from mpcvit.store.enrolment import enrolled
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.shared import share_model
from mpcvit.store.trained import load_model
from mpcvit.wire.reveal import Disclosure, RevealKind
from parties.local.cluster import LocalCluster

_CALIBRATION, _BATCH, _STEPS = 128, 100, 300
_QUARTER, _PATCHES = 16, 4
_NORMALISATION = Normalisation(CIFAR10.mean, CIFAR10.std)


@dataclass(frozen=True)
class Task:
    """Pictures and what they show.

    Attributes:
        pixels: uint8 [count, 32, 32, 3].
        truth: of mosaics, the class of every quarter [count, 2, 2]; of others, the class [count].
    """

    pixels: np.ndarray
    truth: np.ndarray

    @property
    def floats(self) -> torch.Tensor:
        """As models read them."""
        return normalise(self.pixels, CIFAR10.mean, CIFAR10.std)


def main() -> None:
    """Train heads, export, and score every kind on every executor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", type=int, default=3000, help="training mosaics")
    parser.add_argument("--limit", type=int, default=500, help="test pictures and mosaics")
    parser.add_argument("--secure", type=int, default=20, help="of these on shares, for every kind")
    parser.add_argument("--out", type=Path, default=Path(f"benchmarks/results/{date.today()}-answers.json"))
    options = parser.parse_args()
    torch.manual_seed(0)
    parts = [load_cifar10(options.data, part) for part in ("train", "test")]
    mosaics = [_mosaics(parts[0], options.train, 1), _mosaics(parts[1], options.limit, 2)]
    model = load_model(zoo.folder(zoo.DEFAULT))
    tagger, segmenter = _tagger(model, mosaics[0]), _segmenter(model, mosaics[0])
    alone = [_whole(part, options.limit, seed) for seed, part in enumerate(parts)]
    threshold = _best_threshold(model, alone[0])
    rows: dict[str, Any] = {}
    kinds: list[tuple[Disclosure, FloatModel, Task]] = [
        (Disclosure.tags(0.5), tagger, mosaics[1]),
        (Disclosure(RevealKind.MAP), segmenter, mosaics[1]),
        (Disclosure.match(threshold), model, alone[1]),
        (Disclosure(RevealKind.SCORES), tagger, mosaics[1]),
        (Disclosure(RevealKind.VECTOR), model, alone[1]),
    ]
    for reveal, network, task in track(kinds, "kinds", console=progress_console):
        rows[str(reveal.kind)] = _row(reveal, network, task, options.secure)
        header = {"mpcvit": mpcvit.__version__, "machine": platform.machine(), "date": str(date.today())}
        counts = {"train": options.train, "limit": options.limit}
        options.out.write_text(json.dumps({**header, **counts, "threshold": threshold, "rows": rows}, indent=1) + "\n")
    progress_console.print(rows)


def _mosaics(images: ImageSet, count: int, seed: int) -> Task:
    """Return mosaics of four pictures each."""
    chosen = np.random.default_rng(seed).choice(len(images), (count, 2, 2))
    small = (
        images.images[chosen].reshape(count, 2, 2, _QUARTER, 2, _QUARTER, 2, 3).mean((4, 6)).round().astype(np.uint8)
    )
    pixels = small.transpose(0, 1, 3, 2, 4, 5).reshape(count, 2 * _QUARTER, 2 * _QUARTER, 3)
    return Task(pixels, images.labels[chosen])


def _whole(images: ImageSet, count: int, seed: int) -> Task:
    """Return pictures as they are; the first ones show a class each, in order."""
    order = np.random.default_rng(seed).permutation(len(images))
    first = [next(index for index in order if images.labels[index] == label) for label in range(len(images.classes))]
    chosen = np.array([*first, *[index for index in order if index not in first]][:count])
    return Task(images.images[chosen], images.labels[chosen])


def _present(task: Task) -> np.ndarray:
    """Return bool [count, classes]: which classes a mosaic shows."""
    return (task.truth.reshape(len(task.truth), -1, 1) == np.arange(CIFAR10.classes)).any(1)


def _labels(task: Task) -> np.ndarray:
    """Return the class of every patch, [count, 8, 8]."""
    return task.truth.repeat(_PATCHES, 1).repeat(_PATCHES, 2)


@torch.no_grad()
def _tokens(model: VisionTransformer, task: Task) -> torch.Tensor:
    """Return the tokens [count, N, D] behind the last block."""
    batches = task.floats.split(_BATCH)
    return torch.cat([model.tokens(batch)[0] for batch in track(batches, "features", console=progress_console)])


def _fit(head: torch.nn.Linear, features: torch.Tensor, loss: Any) -> None:
    """Train a linear layer by Adam, all pictures at a time."""
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02, weight_decay=1e-5)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss(head(features)).backward()
        optimizer.step()


def _tagger(model: VisionTransformer, task: Task) -> VisionTransformer:
    """Return the model with a head that scores every class."""
    trained = copy.deepcopy(model)
    features, wanted = model.norm(_tokens(model, task).mean(1)).detach(), torch.from_numpy(_present(task)).float()
    _fit(trained.head, features, lambda logits: binary_cross_entropy_with_logits(logits, wanted))
    return trained


def _segmenter(model: VisionTransformer, task: Task) -> Segmenter:
    """Return the model with a head that labels every patch."""
    trained = Segmenter(SegmenterConfig(vit=model.config))
    trained.vit = copy.deepcopy(model)
    features, wanted = (
        model.norm(_tokens(model, task)).detach().flatten(0, 1),
        torch.from_numpy(_labels(task)).flatten(),
    )
    _fit(trained.vit.head, features, lambda logits: cross_entropy(logits, wanted))
    return trained


@torch.no_grad()
def _real(model: FloatModel, task: Task) -> np.ndarray:
    """Return what the float model computes, float64."""
    return torch.cat([model.eval()(batch) for batch in task.floats.split(_BATCH)]).double().numpy()


def _cosines(vectors: np.ndarray) -> np.ndarray:
    """Return the cosines [references, others] of the first pictures, one of each class, with all others."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit[: CIFAR10.classes] @ unit[CIFAR10.classes :].T


def _same(task: Task) -> np.ndarray:
    """Return bool [references, others]: whether they show the same class."""
    return task.truth[: CIFAR10.classes, None] == task.truth[None, CIFAR10.classes :]


def _best_threshold(model: VisionTransformer, task: Task) -> float:
    """Return the cosine in (0, 1) with the best mean of both rates on training pictures, to two digits."""
    cosines, same = _cosines(_real(model, task)), _same(task)
    rates = {t: (cosines >= t)[same].mean() + (cosines < t)[~same].mean() for t in np.arange(5, 100, 5) / 100}
    return float(max(rates, key=lambda t: rates[t]))


def _row(reveal: Disclosure, model: FloatModel, task: Task, secure: int) -> dict[str, Any]:
    """Return what one kind of answer is worth in float and in clear, and how it does on shares."""
    calibration = task.floats[:_CALIBRATION]
    exported = export_model(model, calibration, None, reveal, normalisation=_NORMALISATION)
    labels = tuple(f"class{number}" for number in range(CIFAR10.classes)) if reveal.kind.facts.least_labels else ()
    fields = {"labels": labels, "mean": CIFAR10.mean, "std": CIFAR10.std, "reveal": exported.reveal}
    folder = ModelFolder(Description(name="answers", version="1", **fields), exported.program, exported.weights)
    real = _real(model, task)
    if reveal.kind is RevealKind.MATCH:
        return _matching(folder, real, task, secure)
    codes = _reference(folder, task)
    answers, expected = _decoded(folder, codes), _expected(reveal, real)
    row = {"float": _score(reveal, expected, task), "reference": _score(reveal, answers, task)}
    return {**row, "agreement": _agreement(reveal, expected, answers), **_on_shares(folder, task, codes, secure)}


def _matching(folder: ModelFolder, real: np.ndarray, task: Task, secure: int) -> dict[str, Any]:
    """Return how often pictures of a class match one of it, and how often others do."""
    threshold, same = folder.description.reveal.threshold, _same(task)
    expected = _cosines(real) >= threshold
    models = [enrolled(folder, real[number]) for number in range(CIFAR10.classes)]
    others = Task(task.pixels[CIFAR10.classes :], task.truth[CIFAR10.classes :])
    codes = [_reference(model, others) for model in models]
    found = np.stack([one[:, 0] for one in codes]).astype(bool)
    rates = {
        name: {"accepted_of_same": float(bits[same].mean()), "accepted_of_others": float(bits[~same].mean())}
        for name, bits in (("float", expected), ("reference", found))
    }
    agreement = float((expected == found).mean())
    return {**rates, "agreement": agreement, **_on_shares(models[0], others, codes[0], secure)}


def _reference(folder: ModelFolder, task: Task) -> np.ndarray:
    """Return the Program's codes in clear."""
    (name,) = folder.program.inputs
    pixels = task.pixels.transpose(0, 3, 1, 2).astype(np.int64)
    batches = np.array_split(pixels, max(len(pixels) // _BATCH, 1))
    return np.concatenate([run_reference(folder.program, folder.weights, {name: batch}) for batch in batches])


def _decoded(folder: ModelFolder, codes: np.ndarray) -> np.ndarray:
    """Return numbers, bits, or classes of patches."""
    reveal, frac = folder.description.reveal, folder.program.types[folder.program.output].frac
    if reveal.kind is RevealKind.MAP:
        rows, columns = reveal.shape
        return codes[:, :-1].reshape(-1, rows, columns) % CIFAR10.classes
    return codes if reveal.kind is RevealKind.TAGS else decode(codes, frac)


def _expected(reveal: Disclosure, real: np.ndarray) -> np.ndarray:
    """Return the same of the float model."""
    if reveal.kind is RevealKind.MAP:
        return real.argmax(1)
    return (real >= 0).astype(np.int64) if reveal.kind is RevealKind.TAGS else real


def _score(reveal: Disclosure, answers: np.ndarray, task: Task) -> dict[str, float]:
    """Return mean average precision of scores, micro F1 of tags, mean IoU of maps, right labels of vectors."""
    if reveal.kind is RevealKind.SCORES:
        present = _present(task)
        return {"mAP": float(np.mean([_precision(answers[:, label], present[:, label]) for label in range(10)]))}
    if reveal.kind is RevealKind.TAGS:
        present = _present(task)
        return {"F1": float(2 * (answers * present).sum() / (answers.sum() + present.sum()))}
    if reveal.kind is RevealKind.MAP:
        truth = _labels(task)
        both = [((answers == label) & (truth == label)).sum() for label in range(10)]
        either = [((answers == label) | (truth == label)).sum() for label in range(10)]
        return {"mIoU": float(np.mean(np.array(both) / np.array(either))), "right": float((answers == truth).mean())}
    return {"top1": float((answers.argmax(1) == task.truth).mean())}


def _precision(scores: np.ndarray, present: np.ndarray) -> float:
    """Return the average precision: of the ranks of all that are there, the mean share of such above."""
    ranked = present[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


def _agreement(reveal: Disclosure, expected: np.ndarray, answers: np.ndarray) -> float:
    """Return the share of equal bits and labels, or the largest difference of numbers."""
    return float(np.abs(expected - answers).max() if reveal.kind.facts.real else (expected == answers).mean())


def _on_shares(folder: ModelFolder, task: Task, codes: np.ndarray, count: int) -> dict[str, Any]:
    """Return how answers of real parties compare with the reference's, and what they cost: medians."""
    with tempfile.TemporaryDirectory(prefix="mpcvit-answers-") as scratch:
        manifest, shares = share_model(folder, 2, Path(scratch) / "shares")
        cluster = LocalCluster(shares, Path(scratch))
        with cluster, Client.from_config(cluster.client_config) as client:
            inferences = [client.infer(pixels) for pixels in task.pixels[:count]]
    kind = ANSWERS[manifest.reveal.kind]
    known = [kind.of(manifest, code) for code in codes[:count]]
    return {
        "secure": count,
        **_compared([one.answer for one in inferences], known),
        "rounds": inferences[0].rounds,
        "online_s": round(median(one.online_s for one in inferences), 3),
        "bytes_sent": inferences[0].stats[0].bytes_sent,
        "material_bytes": [stats.material_bytes for stats in inferences[0].stats],
    }


def _compared(answers: list[Answer], known: list[Answer]) -> dict[str, float]:
    """Return how many answers are the reference's; of numbers, which are rounded at random, the largest difference."""
    pairs = list(zip(answers, known, strict=True))
    if any(isinstance(answer, Scores | Vector) for answer in answers):
        return {
            "largest_difference_to_reference": max(float(np.abs(_numbers(a) - _numbers(b)).max()) for a, b in pairs)
        }
    return {"equal_to_reference": sum(one.to_json() == other.to_json() for one, other in pairs)}


def _numbers(answer: Answer) -> np.ndarray:
    """Return logits of scores, or a vector."""
    assert isinstance(answer, Scores | Vector)  # noqa: S101 - of its caller
    return answer.logits if isinstance(answer, Scores) else answer.values


if __name__ == "__main__":
    main()
