"""c * x for a public constant c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Scale(LinearMap):
    """Multiplies by the public constant ``code / 2**frac``; the result has ``frac`` more fractional bits. Local, exact.

    ``Scale(1, k)`` divides by 2**k without touching the codes.
    """

    name: ClassVar[str] = "scale"
    code: int
    frac: int

    def __post_init__(self) -> None:
        if self.code == 0 or self.frac < 0:
            raise ProgramError(
                f"scale by {self.code} / 2**{self.frac}",
                expected="a code other than 0 and frac >= 0",
                remedy="Drop the branch instead of multiplying by zero.",
            )

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return x.shape, x.frac + self.frac

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        ends = x.lo * self.code, x.hi * self.code
        return Bounds(torch.minimum(*ends), torch.maximum(*ends))

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x * self.code
