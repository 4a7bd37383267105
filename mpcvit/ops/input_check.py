"""The picture itself, once it is certain that it is one: every code that a client shared is a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import InputOutOfRange, ProgramError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType

#: Bits of a pixel, at most.
MAX_BITS = 16


def out_of_range(bits: int) -> InputOutOfRange:
    """Return what ends an inference on something that is no picture."""
    return InputOutOfRange(
        "shares of something that is no picture",
        expected=f"every code from 0 to {(1 << bits) - 1}",
        remedy="Use the SDK, which encodes pictures.",
    )


@dataclass(frozen=True)
class InputCheck(Op):
    """x, where all its codes lie in [0, 2**bits); else the inference ends. Exact for every code of the ring.

    Clients are not trusted to share a picture; everything else in a Program is proven for pictures only. On stock
    shares two comparisons per code (8 rounds for 2 parties) and the opened number of codes outside (1 round).

    Attributes:
        bits: of a pixel, 1 to 16.
    """

    name: ClassVar[str] = "input_check"
    public_bounds: ClassVar[bool] = True
    bits: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        if not 1 <= self.bits <= MAX_BITS or x.frac or x.qtype.lo < 0 or x.qtype.hi > self.largest:
            raise ProgramError(
                f"a check of {self.bits} bits of {x}",
                expected=f"1 to {MAX_BITS} bits, of integers that have no more",
                remedy="Check the pixels themselves.",
            )
        return x.shape, 0

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        return Bounds(x.lo.clamp(min=0), x.hi.clamp(max=self.largest))

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        if ((x < 0) | (x > self.largest)).any():
            raise out_of_range(self.bits)
        return x

    @property
    def largest(self) -> int:
        """The largest code of a pixel."""
        return (1 << self.bits) - 1
