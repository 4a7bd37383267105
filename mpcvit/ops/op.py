"""The base of all ops: what an op says about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.cost import Cost
from mpcvit.ops.protocol import Form, Protocol
from mpcvit.ops.types import Shape, TensorType
from mpcvit.session.correlations import Correlation
from mpcvit.session.crypten_context import ArithmeticSharedTensor
from mpcvit.session.session import Session


class Op(ABC):
    """One operation on ring tensors; a frozen dataclass whose fields are its public attributes.

    All shapes are without batch axis. ``reference`` works on batches: activations carry one leading batch axis,
    parameters none, so axes are counted from the end.
    """

    name: ClassVar[str]

    @abstractmethod
    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        """Shape and fractional bits of the result.

        Raises:
            ProgramError: the inputs do not fit together.
            RangeError: an input may leave the op's domain.
        """

    @abstractmethod
    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        """The result in clear on int64 codes: the definition of the op, bit for bit.

        Ops that drop bits add ``rounding`` before: by default half of what they drop, so that they round to nearest. A
        run of the fast engine rounds by the low bits of its masks; replaying it takes those from the dealer.
        """

    def masked_inputs(self, count: int) -> tuple[bool, ...]:
        """Which of ``count`` inputs the fast engine needs Masked. None unless overridden."""
        return (False,) * count

    @abstractmethod
    def protocols(self, inputs: Sequence[TensorType], forms: Sequence[Form]) -> Sequence[Protocol]:
        """The ways to run this op in the fast engine, for inputs of these types that come in these forms."""

    @abstractmethod
    def stock(self, session: Session, *inputs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        """This party's share of the result, through CrypTen's own protocols."""

    def stock_correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        """The correlated randomness that :meth:`stock` consumes, in order. Nothing for local ops."""
        return []

    def stock_error(self, inputs: Sequence[TensorType], parties: int) -> int:
        """Largest difference between :meth:`stock` and :meth:`reference`, in LSB of the result. 0 for exact ops."""
        return 0

    def wrap_probability(self, inputs: Sequence[TensorType], parties: int) -> float:
        """Bound on the chance that a truncation inside :meth:`stock` wraps silently, over the whole tensor."""
        return 0.0

    def macs(self, inputs: Sequence[TensorType]) -> int:
        """Ring multiply-accumulates."""
        return 0

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        """Secure comparisons."""
        return 0

    def stock_cost(self, inputs: Sequence[TensorType], parties: int) -> Cost:
        """Exact cost of :meth:`stock`: CrypTen communicates once per correlation."""
        cost = Cost(0, (0,) * parties, (0,) * parties, macs=self.macs(inputs), comparisons=self.comparisons(inputs))
        for correlation in self.stock_correlations(inputs, parties):
            cost += Cost(1, correlation.bytes_sent(parties), correlation.material_bytes(parties))
        return cost


def same_frac(op: str, left: TensorType, right: TensorType) -> int:
    """The fractional bits that both operands have.

    Raises:
        ProgramError: they differ.
    """
    if left.frac != right.frac:
        raise ProgramError(
            f"{op} of {left} and {right}",
            expected="equal fractional bits",
            remedy="Insert a rescale before the op at export.",
        )
    return left.frac


def broadcast(op: str, left: TensorType, right: TensorType) -> Shape:
    """The shape that both operands broadcast to.

    Raises:
        ProgramError: they do not.
    """
    try:
        return tuple(torch.broadcast_shapes(left.shape, right.shape))
    except RuntimeError as error:
        raise ProgramError(
            f"{op} of {left} and {right}", expected="shapes that broadcast", remedy="Reshape one operand at export."
        ) from error
