"""What every export begins and ends with, whatever the model is: checks of the pictures, checks of the Program."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.errors import ProgramError, RangeError
from mpcvit.export.answer import answered
from mpcvit.export.builder import Builder, Precision, Value
from mpcvit.export.normalisation import Normalisation
from mpcvit.export.parts import Part
from mpcvit.models.check_images import check_images
from mpcvit.program.program import Program
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.reveal import LOGITS, Disclosure

INPUT = "image"
#: Export refuses a lowering whose real-valued output differs from the model's by more than this.
_FIDELITY = 1e-3


@dataclass(frozen=True)
class Exported:
    """A Program with its weights.

    Attributes:
        fidelity: largest difference of outputs between the model and the Program's real-valued evaluation.
        parts: by node, where it comes from in the model.
        reveal: what the Program's output is.
        units: by name, in which units values are computed.
    """

    program: Program
    weights: dict[str, Codes]
    fidelity: float
    parts: Mapping[str, Part]
    reveal: Disclosure = LOGITS
    units: Mapping[str, float] = field(default_factory=dict)


def begin(
    images: torch.Tensor,
    expected: tuple[int, ...],
    normalisation: Normalisation,
    precision: Precision | None,
    units: Mapping[str, float] | None = None,
) -> tuple[Builder, Value]:
    """Return a builder, and the Program's input, checked, with the pixels of ``images`` as its values.

    Args:
        units: those of another Program of the same weights, see :class:`~mpcvit.export.builder.Builder`.

    Raises:
        InputError: ``images`` is not [count, \\*expected] with at least one picture, or not of pixels.
    """
    check_images(images, expected)
    b = Builder(precision or Precision(), units)
    pixels = b.input(INPUT, normalisation.pixels(images), normalisation.pixel)
    return b, b.checked(f"{INPUT}.checked", pixels, normalisation.bits)


def finish(
    b: Builder, model: nn.Module, normalisation: Normalisation, image: Value, output: Value, reveal: Disclosure
) -> Exported:
    """Return the Program that ends in what ``reveal`` asks for of the ``output`` of ``model``.

    Raises:
        InputError: the model has nothing of the kind.
        ProgramError: it does not compute what ``model`` computes on the pixels of ``image`` (a bug).
        RangeError: values do not fit fixed point.
    """
    answer, reveal = answered(b, output, reveal)
    program = b.program(answer)
    expected = copy.deepcopy(model).eval().double()(normalisation.floats(image.real))
    fidelity = float((output.real - expected).abs().max())
    if fidelity > _FIDELITY:
        raise ProgramError(
            f"outputs that differ by {fidelity:.2g} between model and Program in real arithmetic",
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
    return Exported(program, b.weights, fidelity, b.parts, reveal, b.units)
