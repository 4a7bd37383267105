"""The base of all ops: what an op is, whatever engine runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.types import Shape, TensorType


class Op(ABC):
    """One operation on ring tensors; a frozen dataclass whose fields are its public attributes.

    All shapes are without batch axis. ``reference`` works on batches: activations carry one leading batch axis,
    parameters none, so axes are counted from the end.
    """

    name: ClassVar[str]
    #: Whether bounds of the result follow from its shape alone.
    public_bounds: ClassVar[bool] = False
    #: Whether an engine can say on shares where it was right.
    guardable: ClassVar[bool] = False

    @abstractmethod
    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        """Return the shape and fractional bits of the result.

        Raises:
            ProgramError: the inputs do not fit together.
            RangeError: an input may leave the op's domain.
        """

    @abstractmethod
    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        """Return the result in clear on int64 codes: the definition of the op, bit for bit.

        Ops that drop bits add ``rounding`` before: by default half of what they drop, so that they round to nearest. A
        run of the fast engine rounds by the low bits of its masks; replaying it takes those from the dealer.
        """

    @abstractmethod
    def bounds(self, *inputs: Bounds) -> Bounds:
        """Return bounds of the result's codes where inputs keep theirs, whatever is rounded up or down on the way."""

    def window(self, inputs: Sequence[TensorType]) -> tuple[int, int] | None:
        """Return the least and largest code of :meth:`gated` for which every engine is right; None for all codes."""
        return None

    def gated(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the codes, on a batch, that :meth:`window` is about: by default the first input's."""
        return inputs[0]

    def relaxed(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return :meth:`reference` on real numbers in place of codes: nothing is rounded, so that gradients pass."""
        return self.reference(*inputs)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        """Return ring multiply-accumulates."""
        return 0

    def comparisons(self, inputs: Sequence[TensorType]) -> int:
        """Return secure comparisons."""
        return 0


def same_frac(op: str, left: TensorType, right: TensorType) -> int:
    """Return the fractional bits that both operands have.

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
    """Return the shape that both operands broadcast to.

    Raises:
        ProgramError: they do not.
    """
    try:
        return tuple(torch.broadcast_shapes(left.shape, right.shape))
    except RuntimeError as error:
        raise ProgramError(
            f"{op} of {left} and {right}", expected="shapes that broadcast", remedy="Reshape one operand at export."
        ) from error
