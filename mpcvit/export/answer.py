"""From what a model computes to what leaves the parties."""

from __future__ import annotations

import math

import torch

from mpcvit.errors import InputError, ProgramError
from mpcvit.export.builder import Builder, Value
from mpcvit.export.matching import matches
from mpcvit.export.place_labels import place_labels
from mpcvit.export.ranking import top_labels, top_labels_in_clear
from mpcvit.wire.reveal import Disclosure, RevealKind


def check_reveal(reveal: Disclosure, *shape: int) -> None:
    """Raise InputError if ``reveal`` asks for something that a model has not whose output is of this shape.

    Args:
        shape: without batch axis: [labels] or [numbers]; of maps [labels, rows, columns].
    """
    facts = reveal.kind.facts
    axes = 3 if reveal.kind is RevealKind.MAP else 1
    if len(shape) != axes or (reveal.kind is RevealKind.SCALAR and shape != (1,)):
        raise InputError(
            f"a model with output {list(shape)} that reveals {reveal}",
            expected={RevealKind.MAP: "[labels, rows, columns]", RevealKind.SCALAR: "[1]"}.get(reveal.kind, "one axis"),
            remedy="Reveal something else, or choose a model with such a head.",
        )
    if facts.least_labels and not reveal.fits(shape[0]):
        raise InputError(
            f"a model of {shape[0]} classes that reveals {reveal}",
            expected="at least two classes" if facts.least_labels > 1 else "at least one class",
            remedy="Reveal fewer labels.",
        )


def answered(b: Builder, output: Value, reveal: Disclosure) -> tuple[Value, Disclosure]:
    """Return what the Program ends in, a vector, and ``reveal`` with the answer's shape.

    Args:
        output: what the model computes, at ordinary precision; see :func:`check_reveal` for its shape.

    Raises:
        InputError: the model has nothing of the kind.
        ProgramError: labels differ from those of real arithmetic (a bug).
    """
    check_reveal(reveal, *output.type.shape)
    match reveal.kind:
        case RevealKind.LABEL | RevealKind.TOPK:
            return _labels(b, output, reveal.top), reveal
        case RevealKind.TAGS:
            return _tags(b, output, reveal), reveal
        case RevealKind.VECTOR:
            return output, reveal.of_shape(output.type.shape)
        case RevealKind.MAP:
            return place_labels(b, "map", output), reveal.of_shape(output.type.shape[1:])
        case RevealKind.MATCH:
            return matches(b, output, reveal), reveal
    return output, reveal


def _labels(b: Builder, logits: Value, top: int) -> Value:
    """Return the likeliest labels' positions, and how many there are."""
    labels = top_labels(b, "labels", logits, top)
    if not torch.equal(labels.real[:, :top].long(), top_labels_in_clear(logits.real, top)):
        raise ProgramError(
            "labels that differ between model and Program in real arithmetic",
            expected="the positions of the largest logits",
            remedy="This is a bug in the export; please report it with the model's configuration.",
        )
    return labels


def _tags(b: Builder, logits: Value, reveal: Disclosure) -> Value:
    """Return [sigmoid(x) >= threshold] for every logit, as integers: [x >= log(t / (1 - t))]."""
    assert reveal.threshold is not None  # noqa: S101 - a disclosure is checked
    least = math.log(reveal.threshold / (1.0 - reveal.threshold))
    return b.nonnegative("tags", b.offset("tags.above", logits, -least) if least else logits)
