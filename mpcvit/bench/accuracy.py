"""The same model on the same pictures in float, quantized, in the integer reference and on secret shares."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mpcvit.client import Client
from mpcvit.client.result import Inference
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import ConfigError, NotRevealed
from mpcvit.models.files import load_any_model
from mpcvit.program.model_folder import ModelFolder
from mpcvit.program.reference import run_reference
from mpcvit.program.shares import share_model
from mpcvit.quantize.files import QUANTIZED_FOLDER, is_quantized, load_quantized
from mpcvit.ring.fixed_point import decode, encode
from parties.local_cluster import LocalCluster

Logits = npt.NDArray[np.float64]
Advance = Callable[[int], None]
_BATCH = 100


class Executor(StrEnum):
    """What runs the model."""

    FLOAT = "float"
    QUANTIZED = "quantized"
    REFERENCE = "reference"
    SECURE = "secure"


@dataclass(frozen=True)
class Answers:
    """What an executor said.

    Attributes:
        labels: int64 [count], the likeliest class of every picture.
        logits: float64 [count, classes]; None if the model reveals none.
    """

    labels: npt.NDArray[np.int64]
    logits: Logits | None

    @classmethod
    def of(cls, logits: Logits) -> Answers:
        """The answers that logits give."""
        return cls(logits.argmax(1), logits)


@dataclass(frozen=True)
class Accuracy:
    """How an executor did.

    Attributes:
        executor: which one.
        n: pictures scored.
        top1: share of right labels, in [0, 1].
        agreement_with_float: share of labels equal to the float model's.
        max_abs_logit_diff: largest difference to the float model's logits; None if the model reveals none.
        agreement_with_reference: share of labels equal to the integer reference's; None for float and quantized.
        seconds: wall time of the executor over all pictures.
        cost: medians over the secure runs (online and offline seconds, rounds, bytes); empty otherwise.
    """

    executor: Executor
    n: int
    top1: float
    agreement_with_float: float
    max_abs_logit_diff: float | None
    agreement_with_reference: float | None
    seconds: float
    cost: dict[str, Any]


def float_logits(folder: Path, images: ImageSet, advance: Advance = lambda n: None) -> Logits:
    """The trained model's logits [count, classes] in float32."""
    return _logits(load_any_model(folder), folder, images, advance)


def quantized_logits(folder: Path, images: ImageSet, advance: Advance = lambda n: None) -> Logits:
    """Logits [count, classes] with all quantizers of the method that the model was quantized with, in float32.

    Raises:
        ConfigError: the model is not quantized.
    """
    if not is_quantized(folder):
        raise ConfigError(
            f"a model in {folder} that is not quantized",
            expected="a folder that 'mpcvit quantize' wrote",
            remedy="Quantize the model, or choose another executor.",
        )
    return _logits(load_quantized(folder / QUANTIZED_FOLDER)[0], folder, images, advance)


def _logits(model: torch.nn.Module, folder: Path, images: ImageSet, advance: Advance) -> Logits:
    description = ModelFolder.load(folder).description
    parts = []
    with torch.inference_mode():
        for batch in _batches(images):
            parts.append(model(normalise(batch.images, description.mean, description.std)).double().numpy())
            advance(len(batch))
    return np.concatenate(parts)


def reference_answers(folder: Path, images: ImageSet, advance: Advance = lambda n: None) -> Answers:
    """What the Program answers on integer codes in clear."""
    model = ModelFolder.load(folder)
    ((name, kind),) = model.program.inputs.items()
    parts = []
    for batch in _batches(images):
        pixels = normalise(batch.images, model.description.mean, model.description.std)
        codes = encode(pixels.numpy(), kind.qtype)
        parts.append(run_reference(model.program, model.weights, {name: codes}))
        advance(len(batch))
    output = np.concatenate(parts)
    if not model.description.reveal.logits:
        return Answers(output[:, 0], None)
    return Answers.of(decode(output, model.program.types[model.program.output].frac))


def reference_logits(folder: Path, images: ImageSet) -> Logits:
    """The Program's logits [count, classes] on integer codes in clear.

    Raises:
        NotRevealed: the Program's output is labels.
    """
    logits = reference_answers(folder, images).logits
    if logits is None:
        raise NotRevealed(
            f"a request for the logits of '{folder.name}'",
            expected="a model that reveals logits",
            remedy="Use reference_answers, which gives labels.",
        )
    return logits


def secure_inferences(
    folder: Path,
    images: ImageSet,
    *,
    parties: int = 2,
    overrides: Mapping[str, Any] | None = None,
    advance: Advance = lambda n: None,
) -> list[Inference]:
    """One inference per picture by real parties and a real dealer, all processes of this machine.

    ``overrides`` replace parts of every party's configuration.
    """
    with tempfile.TemporaryDirectory(prefix="mpcvit-eval-") as scratch:
        _, shares = share_model(ModelFolder.load(folder), parties, Path(scratch) / "shares")
        answers = []
        cluster = LocalCluster(shares, Path(scratch), overrides=overrides)
        with cluster, Client.from_config(cluster.client_config) as client:
            for image in images.images:
                answers.append(client.infer(image))
                advance(1)
        return answers


def evaluate(
    folder: Path,
    images: ImageSet,
    executor: Executor,
    *,
    parties: int = 2,
    overrides: Mapping[str, Any] | None = None,
    advance: Advance = lambda n: None,
) -> Accuracy:
    """Score ``executor`` on ``images`` against labels, the float model and the integer reference.

    ``parties`` and ``overrides`` are for the secure executor; see :func:`secure_inferences`.
    """
    cost: dict[str, Any] = {}
    start = time.perf_counter()
    if executor is Executor.FLOAT:
        answers = Answers.of(float_logits(folder, images, advance))
    elif executor is Executor.QUANTIZED:
        answers = Answers.of(quantized_logits(folder, images, advance))
    elif executor is Executor.REFERENCE:
        answers = reference_answers(folder, images, advance)
    else:
        inferences = secure_inferences(folder, images, parties=parties, overrides=overrides, advance=advance)
        answers, cost = _joined(inferences), _cost(inferences)
    seconds = time.perf_counter() - start
    plain = answers if executor is Executor.FLOAT else Answers.of(float_logits(folder, images))
    reference = None
    if executor in (Executor.REFERENCE, Executor.SECURE):
        reference = answers if executor is Executor.REFERENCE else reference_answers(folder, images)
    return Accuracy(
        executor=executor,
        n=len(images),
        top1=float((answers.labels == images.labels).mean()),
        agreement_with_float=float((answers.labels == plain.labels).mean()),
        max_abs_logit_diff=_difference(answers.logits, plain.logits),
        agreement_with_reference=None if reference is None else float((answers.labels == reference.labels).mean()),
        seconds=round(seconds, 3),
        cost=cost,
    )


def _batches(images: ImageSet) -> list[ImageSet]:
    return [
        images.subset(np.arange(start, min(start + _BATCH, len(images)))) for start in range(0, len(images), _BATCH)
    ]


def _joined(inferences: list[Inference]) -> Answers:
    labels = np.array([inference.ranking[0] for inference in inferences], dtype=np.int64)
    revealed = all(inference.reveal.logits for inference in inferences)
    return Answers(labels, np.stack([inference.logits for inference in inferences]) if revealed else None)


def _difference(logits: Logits | None, plain: Logits | None) -> float | None:
    return None if logits is None or plain is None else float(np.abs(logits - plain).max())


def _cost(answers: list[Inference]) -> dict[str, Any]:
    first = answers[0].stats
    return {
        "online_s": round(median(answer.online_s for answer in answers), 4),
        "offline_s": round(median(answer.offline_s for answer in answers), 4),
        "rounds": answers[0].rounds,
        "bytes_sent": [stats.bytes_sent for stats in first],
        "material_bytes": [stats.material_bytes for stats in first],
    }
