"""How the masked engine runs an op: the form in which it needs the inputs, and the protocols to choose from.

The kernels lie beside the protocols in :mod:`mpcvit.engines.masked.protocols` and are found there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from mpcvit.engines.masked.protocol import Form, Protocol
from mpcvit.errors import ProgramError
from mpcvit.members import instances
from mpcvit.ops import Op, TensorType

_PROTOCOLS = "mpcvit.engines.masked.protocols"
AnyOp = TypeVar("AnyOp", bound=Op)
#: The ways to run an op, for inputs of these types that come in these forms.
Ways = Callable[[AnyOp, Sequence[TensorType], Sequence[Form]], Sequence[Protocol]]


@dataclass(frozen=True)
class MaskedKernel(Generic[AnyOp]):
    """What the planner knows of an op.

    Attributes:
        op: a class of ops; ops of classes below it are run alike, unless they have a kernel of their own.
        ways: the candidates. Of equally good ones the plan takes the first.
        masked: whether all inputs must come Masked.
    """

    op: type[AnyOp]
    ways: Ways[AnyOp]
    masked: bool = True


def runs(op: type[AnyOp], *, masked: bool = True) -> Callable[[Ways[AnyOp]], MaskedKernel[AnyOp]]:
    """Make a function that lists the ways to run ``op`` its kernel."""
    return lambda ways: MaskedKernel(op, ways, masked)


def kernel_for(op: Op) -> MaskedKernel[Any]:
    """Return the kernel of the op's class, or of the nearest class above it.

    Raises:
        ProgramError: there is none.
    """
    kernels = _kernels()
    for kind in type(op).__mro__:
        if kind in kernels:
            return kernels[kind]
    raise ProgramError(
        f"op '{op.name}' on the fast engine",
        expected="an op with a kernel",
        remedy=f"Add a protocol that runs it to {_PROTOCOLS}, or use the stock engine.",
    )


@cache
def _kernels() -> dict[type[Op], MaskedKernel[Any]]:
    return {kernel.op: kernel for kernel in instances(_PROTOCOLS, MaskedKernel)}
