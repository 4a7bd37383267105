"""x + c for a public constant c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.session import Session


@dataclass(frozen=True)
class Offset(Op):
    """Adds the public ``code``, which has the input's fractional bits. Local, exact."""

    name: ClassVar[str] = "offset"
    code: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return x.shape, x.frac

    def reference(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x + self.code

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        return x + self.code
