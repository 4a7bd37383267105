"""How engines find what runs an op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from mpcvit.engines.crypten import kernel as crypten
from mpcvit.engines.crypten.kernels.linear_map import LinearMapKernel
from mpcvit.engines.masked import kernel as masked
from mpcvit.errors import ProgramError
from mpcvit.fss import unit_vector
from mpcvit.ops import Add, Linear, Matmul, Nonnegative, Op, Order, Relu, Rescale, Shape, TensorType
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.pick import MAX_GROUP
from mpcvit.ring.qtype import QType
from tests.support.cases import CASES, IDS

KIND = TensorType((4,), QType(frac=0, lo=-9.0, hi=9.0))


@dataclass(frozen=True)
class Double(Add):
    """A linear map that no engine knows by name."""

    name: ClassVar[str] = "double"


@dataclass(frozen=True)
class Unheard(Op):
    """An op that no engine runs."""

    name: ClassVar[str] = "unheard"

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        return inputs[0].shape, 0

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        return inputs[0]

    def bounds(self, *inputs: Bounds) -> Bounds:
        return inputs[0]


@pytest.mark.parametrize(("op", "kinds"), CASES, ids=IDS)
def test_every_op_runs_on_both_engines(op: Op, kinds: tuple[TensorType, ...]) -> None:
    """By a kernel for its class or one above it."""
    assert isinstance(op, masked.kernel_for(op).op)
    assert isinstance(op, crypten.kernel_for(op).runs)
    assert crypten.kernel_for(op).op is op


def test_a_linear_map_needs_no_kernel_of_its_own() -> None:
    """The nearest class above it has one."""
    assert masked.kernel_for(Double()).op is LinearMap
    assert crypten.kernel_for(Double()) == LinearMapKernel(Double())


def test_an_op_without_a_kernel_is_refused() -> None:
    """With where to add one."""
    with pytest.raises(ProgramError, match=r"'unheard' on the fast engine.*engines\.masked\.protocols"):
        masked.kernel_for(Unheard())
    with pytest.raises(ProgramError, match=r"'unheard' on the stock engine.*engines\.crypten\.kernels"):
        crypten.kernel_for(Unheard())


def test_masked_inputs_are_what_the_protocols_read() -> None:
    """Local ops and rescaling take either form, the rest needs Masked inputs."""
    assert [masked.kernel_for(op).masked for op in (Add(), Rescale(3))] == [False, False]
    assert all(masked.kernel_for(op).masked for op in (Linear(), Matmul(), Relu(), Order()))


@pytest.mark.parametrize(
    ("op", "names"),
    [
        (Relu(), ["ReluByBit", "ReluByDcf", "ReluByOneHot", "ReluByOneHot"]),
        (Nonnegative(), ["NonnegativeByDcf", "NonnegativeByBit", "NonnegativeByBit", "NonnegativeByBit"]),
        (Order(), ["OrderByShuffle"] * 4),
    ],
)
def test_candidates_keep_their_order(op: Op, names: list[str]) -> None:
    """Of equally good ones a plan takes the first, so another order could change plans."""
    assert [type(way).__name__ for way in masked.kernel_for(op).ways(op, [KIND], [])] == names


def test_groups_are_as_large_as_unit_vectors_can_tell_apart() -> None:
    """What the op allows is what its protocol can do."""
    assert MAX_GROUP == 1 << unit_vector.MAX_BITS
