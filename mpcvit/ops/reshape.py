"""The same elements in another shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.primitives import shared
from mpcvit.session.session import Session


@dataclass(frozen=True)
class Reshape(Op):
    """Row-major reshape to ``shape``. Local, exact."""

    name: ClassVar[str] = "reshape"
    shape: Shape

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        if math.prod(self.shape) != x.size:
            raise ProgramError(
                f"reshape of {x} to {list(self.shape)}",
                expected=f"a shape of {x.size} elements",
                remedy="Correct the shape at export.",
            )
        return self.shape, x.frac

    def reference(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return x.reshape(x.shape[0], *self.shape)

    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        (x,) = inputs
        return shared(x.share.reshape(self.shape))
