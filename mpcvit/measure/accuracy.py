"""The same model on the same pictures in float, quantized, in integers only, in the reference and on secret shares."""

from __future__ import annotations

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

from mpcvit.data.class_names import match_classes
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import ConfigError, NotRevealed
from mpcvit.export.normalisation import Normalisation
from mpcvit.ivit import integer_vit
from mpcvit.measure.secure_answers import SecureAnswer, secure_answers
from mpcvit.models.check_images import check_images
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.quantized import QUANTIZED_FOLDER, is_quantized, load_quantized
from mpcvit.store.trained import load_any_model, load_model

Logits = npt.NDArray[np.float64]
Advance = Callable[[int], None]
_BATCH = 100


class Executor(StrEnum):
    """What runs the model.

    ``INTEGER`` is I-ViT's graph, made of the float model; ``REFERENCE`` the Program, as the secure engine computes it.
    """

    FLOAT = "float"
    QUANTIZED = "quantized"
    INTEGER = "integer"
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
        """Return the answers that logits give."""
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
        agreement_with_reference: share of labels equal to the reference's, for reference and secure; else None.
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
    """Return the trained model's logits [count, classes] in float32.

    Raises:
        InputError: pictures of another size than the model's input.
    """
    return _logits(load_any_model(folder), folder, images, advance)


def quantized_logits(folder: Path, images: ImageSet, advance: Advance = lambda n: None) -> Logits:
    """Return the logits [count, classes] with all quantizers of the method that the model was quantized with, in
    float32.

    Raises:
        ConfigError: the model is not quantized.
        InputError: pictures of another size than the model's input.
    """
    if not is_quantized(folder):
        raise ConfigError(
            f"a model in {folder} that is not quantized",
            expected="a folder that 'mpcvit quantize' wrote",
            remedy="Quantize the model, or choose another executor.",
        )
    return _logits(load_quantized(folder / QUANTIZED_FOLDER)[0], folder, images, advance)


def integer_logits(
    folder: Path, images: ImageSet, calibration: torch.Tensor, advance: Advance = lambda n: None
) -> Logits:
    """Return the logits [count, classes] of the trained model in integers only.

    Args:
        calibration: training pictures, normalised float [count, channels, size, size].

    Raises:
        ConfigError: the model has something for which there is no integer form; the message names it.
        InputError: pictures of another size than the model's input.
        RangeError: a sum on the way does not fit 32 bits.
    """
    return _logits(integer_vit(load_model(folder), calibration).forward, folder, images, advance)


def _logits(run: Callable[[torch.Tensor], torch.Tensor], folder: Path, images: ImageSet, advance: Advance) -> Logits:
    model = ModelFolder.load(folder)
    parts = []
    with torch.inference_mode():
        for batch in _batches(images):
            parts.append(run(_normalised(model, batch)).double().numpy())
            advance(len(batch))
    return np.concatenate(parts)


def _normalised(model: ModelFolder, images: ImageSet) -> torch.Tensor:
    """Return what the model reads of the pictures, which must be of the size of its input."""
    if model.reads_rgb:
        values = normalise(images.images, model.description.mean, model.description.std)
    else:
        normalisation = Normalisation(model.description.mean, model.description.std, model.input.bits)
        values = normalisation.floats(torch.from_numpy(images.images.astype(np.int64))).float()
    check_images(values, model.input.shape)
    return values


def reference_answers(folder: Path, images: ImageSet, advance: Advance = lambda n: None) -> Answers:
    """Return what the Program answers on integer codes in clear.

    Raises:
        InputError: pictures of another size than the model's input.
        NotRevealed: the model reveals no label.
    """
    model = ModelFolder.load(folder)
    model.description.check_ranked("labels of the reference")
    (name,) = model.program.inputs
    parts = []
    for batch in _batches(images):
        pixels = batch.images.transpose(0, 3, 1, 2) if model.reads_rgb else batch.images
        parts.append(run_reference(model.program, model.weights, {name: pixels.astype(np.int64)}))
        advance(len(batch))
    output = np.concatenate(parts)
    if not model.description.reveal.logits:
        return Answers(output[:, 0], None)
    return Answers.of(decode(output, model.program.types[model.program.output].frac))


def reference_logits(folder: Path, images: ImageSet) -> Logits:
    """Return the Program's logits [count, classes] on integer codes in clear.

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


def evaluate(
    folder: Path,
    images: ImageSet,
    executor: Executor,
    *,
    calibration: torch.Tensor | None = None,
    parties: int = 2,
    overrides: Mapping[str, Any] | None = None,
    advance: Advance = lambda n: None,
    kept: Path | None = None,
) -> Accuracy:
    """Score ``executor`` on ``images`` against labels, the float model and the reference.

    Classes of the pictures are matched with the model's labels by name.

    ``calibration`` is for the integer executor, see :func:`integer_logits`; ``parties``, ``overrides`` and ``kept`` are
    for the secure one, see :func:`~mpcvit.measure.secure_answers.secure_answers`.

    Raises:
        InputError: a class is none of the model's labels, or pictures have another size than the model's input.
        NotRevealed: the model reveals no label.
    """
    description = Description.load(folder)
    description.check_ranked("a score")
    images = match_classes(images, description.labels)
    cost: dict[str, Any] = {}
    start = time.perf_counter()
    if executor is Executor.SECURE:
        secure = secure_answers(folder, images, parties=parties, overrides=overrides, advance=advance, kept=kept)
        answers, cost = _joined(secure), _cost(secure)
        seconds = sum(answer.seconds for answer in secure)
    else:
        answers = _in_clear(folder, images, executor, calibration, advance)
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


def _in_clear(
    folder: Path, images: ImageSet, executor: Executor, calibration: torch.Tensor | None, advance: Advance
) -> Answers:
    """Return what ``executor``, any but secure, answers."""
    if executor is Executor.REFERENCE:
        return reference_answers(folder, images, advance)
    if executor is Executor.QUANTIZED:
        return Answers.of(quantized_logits(folder, images, advance))
    if executor is Executor.FLOAT:
        return Answers.of(float_logits(folder, images, advance))
    if calibration is None:
        raise ConfigError(
            "no pictures to calibrate the integer executor on",
            expected="some hundred training pictures",
            remedy="Give an image folder with --calibration.",
        )
    return Answers.of(integer_logits(folder, images, calibration, advance))


def _batches(images: ImageSet) -> list[ImageSet]:
    return [
        images.subset(np.arange(start, min(start + _BATCH, len(images)))) for start in range(0, len(images), _BATCH)
    ]


def _joined(answers: list[SecureAnswer]) -> Answers:
    labels = np.array([answer.label for answer in answers], dtype=np.int64)
    logits = [answer.logits for answer in answers if answer.logits is not None]
    return Answers(labels, np.array(logits) if len(logits) == len(answers) else None)


def _difference(logits: Logits | None, plain: Logits | None) -> float | None:
    return None if logits is None or plain is None else float(np.abs(logits - plain).max())


def _cost(answers: list[SecureAnswer]) -> dict[str, Any]:
    return {
        "online_s": round(median(answer.online_s for answer in answers), 4),
        "offline_s": round(median(answer.offline_s for answer in answers), 4),
        "rounds": answers[0].rounds,
        "bytes_sent": answers[0].bytes_sent,
        "material_bytes": answers[0].material_bytes,
    }
