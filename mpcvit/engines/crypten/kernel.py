"""How CrypTen's protocols run an op, and what correlated randomness that consumes.

The kernels lie in :mod:`mpcvit.engines.crypten.kernels` and are found there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from mpcvit.engines.cost import Cost
from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared
from mpcvit.errors import ProgramError
from mpcvit.members import members
from mpcvit.ops import Op, TensorType

_KERNELS = "mpcvit.engines.crypten.kernels"
AnyOp = TypeVar("AnyOp", bound=Op)


@dataclass(frozen=True)
class CryptenKernel(ABC, Generic[AnyOp]):
    """Runs one op on shares. By default an op is local and exact.

    Attributes:
        runs: a class of ops; ops of classes below it are run alike, unless they have a kernel of their own.
    """

    runs: ClassVar[type[Op]]
    op: AnyOp

    @abstractmethod
    def run(self, session: Session, *inputs: Shared) -> Shared:
        """Return this party's share of the result."""

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        """Return the correlated randomness that :meth:`run` consumes, in order."""
        return []

    def error(self, inputs: Sequence[TensorType], parties: int) -> int:
        """Return the largest difference between :meth:`run` and the op's reference, in LSB of the result."""
        return 0

    def wrap_probability(self, inputs: Sequence[TensorType], parties: int) -> float:
        """Bound the chance that a truncation inside :meth:`run` wraps silently, over the whole tensor."""
        return 0.0

    def cost(self, inputs: Sequence[TensorType], parties: int) -> Cost:
        """Return the exact cost of :meth:`run`: CrypTen communicates once per correlation."""
        macs, comparisons = self.op.macs(inputs), self.op.comparisons(inputs)
        cost = Cost(0, (0,) * parties, (0,) * parties, macs=macs, comparisons=comparisons)
        for correlation in self.correlations(inputs, parties):
            cost += Cost(1, correlation.bytes_sent(parties), correlation.material_bytes(parties))
        return cost


def kernel_for(op: Op) -> CryptenKernel[Any]:
    """Return the kernel of the op's class, or of the nearest class above it.

    Raises:
        ProgramError: there is none.
    """
    kernels = _kernels()
    for kind in type(op).__mro__:
        if kind in kernels:
            return kernels[kind](op)
    raise ProgramError(
        f"op '{op.name}' on the stock engine", expected="an op with a kernel", remedy=f"Add one to {_KERNELS}."
    )


@cache
def _kernels() -> dict[type[Op], type[CryptenKernel[Any]]]:
    kernels = members(_KERNELS, CryptenKernel)  # type: ignore[type-abstract]  # found by their base
    return {kernel.runs: kernel for kernel in kernels}
