"""Fewer fractional bits: the one place where a value is rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType

#: Codes of smaller magnitude can be truncated on shares.
_WINDOW = 1 << 62


def round_shift(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Return round(codes / 2**bits), halves up: the reference of every rescaling."""
    return (codes + (1 << (bits - 1))) >> bits


@dataclass(frozen=True)
class Rescale(Op):
    """Drops the lowest ``bits`` fractional bits, rounding to nearest.

    On stock shares: 0 rounds for 2 parties, 1 for more; off by at most 1 LSB for 2 parties and n LSB for n > 2; wraps
    silently with the stated probability (CrypTen truncates shares locally).
    """

    name: ClassVar[str] = "rescale"
    bits: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        if not 0 < self.bits <= x.frac:
            raise ProgramError(
                f"rescale by {self.bits} bits of {x}",
                expected=f"1 to {x.frac} bits",
                remedy="Choose a result with fewer fractional bits than the input.",
            )
        return x.shape, x.frac - self.bits

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        return Bounds((x.lo / 2.0**self.bits).floor(), (x.hi / 2.0**self.bits).ceil())

    def window(self, inputs: Sequence[TensorType]) -> tuple[int, int]:
        return -_WINDOW, _WINDOW - 1

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        return round_shift(x, self.bits) if rounding is None else (x + rounding) >> self.bits

    def relaxed(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x / 2.0**self.bits
