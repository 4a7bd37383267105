"""Scales of symmetric codes, chosen from the largest value that calibration saw."""

from __future__ import annotations

from dataclasses import dataclass

import torch

#: Codes that a product reads.
OPERAND_BITS = 8
#: Codes of the residual stream, of what is added to it, and of attention weights. I-ViT has the same widths: 64 equal
#: weights in 8 bits would have two bits each.
STREAM_BITS = 16
#: Smallest step of a code; below, biases in units of a step would not fit 32 bits.
_SMALLEST = 2.0**-20


@dataclass(frozen=True, eq=False)
class ScaledEdge:
    """What goes from one layer to the next while a graph is made.

    Attributes:
        real: the float model's values on calibration pictures, float64.
        scale: what 1 stands for in the integer graph's codes.
    """

    real: torch.Tensor
    scale: float


def symmetric_scale(real: torch.Tensor, bits: int) -> float:
    """Return the scale at which the largest magnitude in ``real`` is the largest code."""
    return max(float(real.abs().max()) / ((1 << (bits - 1)) - 1), _SMALLEST)


def steps_per_unit(real: torch.Tensor, bits: int, gain: float = 1.0) -> int:
    """Return u so that codes at scale 1 / (u * gain) hold ``real``: what an exponential of gain * x wants (u = 1 at
    worst).

    ShiftExp divides by round(1 / scale); with a scale of 1 / u that rounding costs nothing.
    """
    return max(int(1 / (symmetric_scale(real, bits) * gain)), 1)
