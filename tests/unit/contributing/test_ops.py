"""A linear op in one file, and an op with a protocol in three, as CONTRIBUTING.md says."""

from __future__ import annotations

import json

from tests.support.contributing import files_to_touch
from tests.support.toy_tree import ToyTree

LINEAR_OP = '''"""The elements of the last axis, the last one first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.linear_map import LinearMap
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Toy(LinearMap):
    """``times`` times the elements of the last axis, in reverse."""

    name: ClassVar[str] = "toy"
    times: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return x.shape, x.frac

    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return self.times * x.flip(-1)
'''

OP = '''"""The third power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class Toy(Op):
    """``times`` times the third power of every element; fractional bits triple."""

    name: ClassVar[str] = "toy"
    times: int

    def infer(self, *inputs: TensorType) -> tuple[Shape, int]:
        (x,) = inputs
        return x.shape, 3 * x.frac

    def bounds(self, *inputs: Bounds) -> Bounds:
        (x,) = inputs
        return Bounds(self.times * x.lo**3, self.times * x.hi**3)

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        (x,) = inputs
        return self.times * x**3

    def macs(self, inputs: Sequence[TensorType]) -> int:
        (x,) = inputs
        return 2 * x.size
'''

PROTOCOL = '''"""The third power of a Masked wire in no round: (x^ - mu)**3 from shares of mu and mu**2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.layout import Layout, SharedWords
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, dealt_mask
from mpcvit.engines.masked.wires import Step, Wire, masked
from mpcvit.engines.shared import shared
from mpcvit.ops.toy import Toy
from mpcvit.ops.types import Shape, TensorType


@dataclass(frozen=True)
class ToyProtocol(Protocol):
    """The dealer shares mu**2; mu**3 is left to the next opening."""

    shape: Shape
    times: int

    def layout(self) -> Layout:
        return (SharedWords((1, *self.shape)),)

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask = dealt_mask(*inputs)
        return Dealt(self.times * mask**3, (mask**2,))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        (square,) = taken
        return Prepared(square)

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (x,) = masked(*inputs)
        share = 3 * x.hat * prepared.state - 3 * x.hat**2 * x.mask
        return shared(self.times * (share + x.hat**3 if party == 0 else share))


@runs(Toy)
def toy(op: Toy, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """The only way."""
    (x,) = inputs
    return [ToyProtocol(x.shape, op.times)]
'''

KERNEL = '''"""The third power on CrypTen's shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import multiply, multiply_correlations, square, square_correlations
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared, shared
from mpcvit.ops import Op, TensorType
from mpcvit.ops.toy import Toy


class ToyKernel(CryptenKernel[Toy]):
    """A square and a product: 2 rounds."""

    runs: ClassVar[type[Op]] = Toy

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return [*square_correlations(x.shape), *multiply_correlations(x.shape, x.shape)]

    def run(self, session: Session, *inputs: Shared) -> Shared:
        (x,) = inputs
        return shared(self.op.times * multiply(square(x), x).share)
'''

SCRIPT = """
import json

import numpy as np

from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.crypten.simulate import run as run_crypten
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import make_plan
from mpcvit.engines.masked.simulate import run as run_masked
from mpcvit.ops import OPS, TensorType
from mpcvit.ops.toy import Toy
from mpcvit.program.program import Node, Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.qtype import QType

op, kind = Toy(7), TensorType((2, 3), QType(frac=2, lo=-8.0, hi=8.0))
shape, frac = op.infer(kind)
node = Node("toy", op, ("x",), TensorType(shape, QType(frac=frac, lo=-4096.0, hi=4096.0)))
program = Program({"x": kind}, {}, (node,), "toy")
inputs = {"x": np.array([[1, -2, 3], [-32, 31, 0]])}
plan = make_plan(program, DEFAULT_OBJECTIVE)
masked, crypten = run_masked(plan, {}, inputs, bytes(32)), run_crypten(program, {}, inputs, bytes(32), parties=3)
print(json.dumps({
    "is an op": Toy in OPS,
    "round trip": Program.from_json(program.to_json()) == program,
    "reference": run_reference(program, {}, {"x": inputs["x"][None]})[0].tolist(),
    "masked": masked.output.tolist(),
    "crypten": crypten.output.tolist(),
    "protocols": [type(step.protocol).__name__ for step in plan.steps],
    "rounds": [masked.traces[0].total().rounds, crypten.traces[0].total().rounds],
    "costs": [len(plan.messages), stock_cost(program, 3).total.rounds],
    "material": fast_cost(plan).steps["toy"].material_bytes,
}))
"""


def _said(tree: ToyTree) -> dict[str, object]:
    result: dict[str, object] = json.loads(tree.run(SCRIPT).splitlines()[-1])
    return result


def test_a_linear_op_touches_one_file(toy_tree: ToyTree) -> None:
    """It is written to files and read, planned, priced, and run by the reference and both engines."""
    toy_tree.add("mpcvit/ops/toy.py", LINEAR_OP)
    expected = [[21, -14, 7], [0, 217, -224]]
    assert _said(toy_tree) == {
        "is an op": True,
        "round trip": True,
        "reference": expected,
        "masked": expected,
        "crypten": expected,
        "protocols": ["LocalProtocol", "Reveal"],
        "rounds": [0, 1],
        "costs": [0, 1],
        "material": [0, 0],
    }
    assert tuple(toy_tree.touched) == files_to_touch("A linear op", "toy")


def test_an_op_with_a_protocol_touches_three_files(toy_tree: ToyTree) -> None:
    """As above, by the protocol that it brings and by its kernel for CrypTen."""
    toy_tree.add("mpcvit/ops/toy.py", OP)
    toy_tree.add("mpcvit/engines/masked/protocols/toy.py", PROTOCOL)
    toy_tree.add("mpcvit/engines/crypten/kernels/toy.py", KERNEL)
    expected = [[7, -56, 189], [-229376, 208537, 0]]
    assert _said(toy_tree) == {
        "is an op": True,
        "round trip": True,
        "reference": expected,
        "masked": expected,
        "crypten": expected,
        "protocols": ["PlainOpening", "ToyProtocol", "Reveal"],
        "rounds": [1, 3],
        "costs": [1, 3],
        "material": [0, 48],
    }
    assert tuple(toy_tree.touched) == files_to_touch("An op with a protocol", "toy")
