"""x + y."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.op import Op, broadcast, same_frac
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.session import Session


@dataclass(frozen=True)
class Add(Op):
    """Elementwise sum with broadcasting. Local, exact."""

    name: ClassVar[str] = "add"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        left, right = inputs
        return broadcast(self.name, left, right), same_frac(self.name, left, right)

    def reference(self, *inputs: torch.Tensor) -> torch.Tensor:
        left, right = inputs
        return left + right

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        left, right = inputs
        return left + right
