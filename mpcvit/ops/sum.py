"""Sums over one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import shared
from mpcvit.session.session import Session


def check_axis(op: str, axis: int, x: TensorType) -> None:
    """Raise ProgramError unless ``axis`` counts from the end and exists in ``x``."""
    if not -len(x.shape) <= axis < 0:
        raise ProgramError(
            f"{op} over axis {axis} of {x}",
            expected=f"an axis from {-len(x.shape)} to -1",
            remedy="Count axes from the end.",
        )


@dataclass(frozen=True)
class Sum(Op):
    """Sum over ``axis`` (negative), which stays with length 1. Local, exact."""

    name: ClassVar[str] = "sum"
    axis: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        check_axis(self.name, self.axis, x)
        shape = list(x.shape)
        shape[self.axis] = 1
        return tuple(shape), x.frac

    def reference(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x.sum(self.axis, keepdim=True)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        return shared(x.share.sum(self.axis, keepdim=True))
