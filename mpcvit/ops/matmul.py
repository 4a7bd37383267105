"""Products of two matrices that both depend on the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.exact_matmul import exact_matmul
from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType


def product_type(op: str, left: TensorType, right: TensorType) -> tuple[Shape, int]:
    """Return the shape and fractional bits of left @ right.

    Raises:
        ProgramError: the inner dimensions differ or an operand is not a matrix.
    """
    if len(left.shape) < 2 or len(right.shape) < 2 or left.shape[-1] != right.shape[-2]:
        raise ProgramError(
            f"{op} of {left} and {right}",
            expected="two matrices with equal inner dimension",
            remedy="Permute or reshape an operand at export.",
        )
    return product_shape(left.shape, right.shape), left.frac + right.frac


def product_shape(left: Shape, right: Shape) -> Shape:
    """Return the shape of left @ right, of matrices with equal inner dimension, batched over the axes before."""
    return (*torch.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])


def product_bounds(left: Bounds, right: Bounds) -> Bounds:
    """Return the bounds of left @ right: the largest sum that positive and negative parts could give."""

    def parts(x: Bounds) -> tuple[torch.Tensor, torch.Tensor]:
        return x.hi.clamp(min=0), (-x.lo).clamp(min=0)

    (plus, minus), (right_plus, right_minus) = parts(left), parts(right)
    if torch.equal(right.lo, right.hi):  # weights: each is either positive or negative
        hi = left.hi @ right_plus - left.lo @ right_minus
        return Bounds(left.lo @ right_plus - left.hi @ right_minus, hi)
    return Bounds(-(plus @ right_minus + minus @ right_plus), plus @ right_plus + minus @ right_minus)


@dataclass(frozen=True)
class Matmul(Op):
    """left @ right over the last two axes; fractional bits add. Exact; 1 round on stock shares."""

    name: ClassVar[str] = "matmul"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        left, right = inputs
        return product_type(self.name, left, right)

    def bounds(self, *inputs: Bounds) -> Bounds:
        return product_bounds(*inputs)

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        left, right = inputs
        return exact_matmul(left, right)

    def relaxed(self, *inputs: torch.Tensor) -> torch.Tensor:
        left, right = inputs
        return left @ right

    def macs(self, inputs: Sequence[TensorType]) -> int:
        left, right = inputs
        return math.prod(product_shape(left.shape, right.shape)) * left.shape[-1]
