"""What every export begins and ends with, whatever the model is: checks of the pictures, checks of the Program."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.errors import InputError, ProgramError, RangeError
from mpcvit.export.builder import Builder, Precision, Value
from mpcvit.export.normalisation import Normalisation
from mpcvit.export.parts import Part
from mpcvit.export.ranking import top_labels, top_labels_in_clear
from mpcvit.models.check_images import check_images
from mpcvit.program.program import Program
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.reveal import LOGITS, Disclosure

INPUT = "image"
#: Export refuses a lowering whose real-valued logits differ from the model's by more than this.
_FIDELITY = 1e-3


@dataclass(frozen=True)
class Exported:
    """A Program with its weights.

    Attributes:
        fidelity: largest difference of logits between the model and the Program's real-valued evaluation.
        parts: by node, where it comes from in the model.
        reveal: what the Program's output is.
    """

    program: Program
    weights: dict[str, Codes]
    fidelity: float
    parts: Mapping[str, Part]
    reveal: Disclosure = LOGITS


def begin(
    images: torch.Tensor,
    expected: tuple[int, ...],
    normalisation: Normalisation,
    precision: Precision | None,
) -> tuple[Builder, Value]:
    """Return a builder, and the Program's input, checked, with the pixels of ``images`` as its values.

    Raises:
        InputError: ``images`` is not [count, \\*expected] with at least one picture, or not of pixels.
    """
    check_images(images, expected)
    b = Builder(precision or Precision())
    pixels = b.input(INPUT, normalisation.pixels(images), normalisation.pixel)
    return b, b.checked(f"{INPUT}.checked", pixels, normalisation.bits)


def check_reveal(reveal: Disclosure, classes: int) -> None:
    """Raise InputError if ``reveal`` asks for more labels than there are, or for a choice where there is none."""
    if not reveal.logits and not reveal.top <= classes >= 2:
        raise InputError(
            f"a model of {classes} classes that reveals {reveal}",
            expected="at least two classes, and at most as many labels",
            remedy="Disclosure fewer labels.",
        )


def finish(
    b: Builder, model: nn.Module, normalisation: Normalisation, image: Value, logits: Value, reveal: Disclosure
) -> Exported:
    """Return the Program that ends in ``logits``, or in the labels that ``reveal`` asks for.

    Raises:
        ProgramError: it does not compute what ``model`` computes on the pixels of ``image`` (a bug).
        RangeError: values do not fit fixed point.
    """
    program = b.program(logits if reveal.logits else _labels(b, logits, reveal.top))
    expected = copy.deepcopy(model).eval().double()(normalisation.floats(image.real))
    fidelity = float((logits.real - expected).abs().max())
    if fidelity > _FIDELITY:
        raise ProgramError(
            f"logits that differ by {fidelity:.2g} between model and Program in real arithmetic",
            expected=f"at most {_FIDELITY}",
            remedy="This is a bug in the export; please report it with the model's configuration.",
        )
    wraps = stock_cost(program, parties=2).wrap_probability
    if wraps > b.precision.stock_wraps:
        raise RangeError(
            f"a chance of up to {wraps:.2g} per image that a truncation wraps silently on the stock protocols",
            expected=f"at most {b.precision.stock_wraps:g}",
            remedy="If only the fast engine, which repeats such truncations, will run the model, allow it "
            "(--stock-wraps, Precision.stock_wraps). Else use fewer fractional bits (Precision.frac), or normalise the "
            "model's activations.",
        )
    return Exported(program, b.weights, fidelity, b.parts, reveal)


def _labels(b: Builder, logits: Value, top: int) -> Value:
    """Return the likeliest labels' positions."""
    labels = top_labels(b, "labels", logits, top)
    if not torch.equal(labels.real[:, :top].long(), top_labels_in_clear(logits.real, top)):
        raise ProgramError(
            "labels that differ between model and Program in real arithmetic",
            expected="the positions of the largest logits",
            remedy="This is a bug in the export; please report it with the model's configuration.",
        )
    return labels
