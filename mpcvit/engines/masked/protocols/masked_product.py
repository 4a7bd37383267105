"""Products of two Masked wires in the fast engine: no round, no material (docs/protocols.md, Products).

With x = x^ - mu and y = y^ - nu, party i computes z_i = x^ (1{i=0} y^ - nu_i) - mu_i y^. The shares add up to
x y - mu nu: the dealer knows the offset -mu nu, and the next opening absorbs it in its mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, dealt_mask, tensor_mask
from mpcvit.engines.masked.ring_matmul import ring_matmul
from mpcvit.engines.masked.wires import Masked, Step, Wire, masked, share_of
from mpcvit.engines.shared import shared
from mpcvit.ops import Linear, Matmul, Multiply, TensorType

#: Ring multiply-accumulates per second and core, roughly.
_MACS_PER_S = 4e9


class Bilinear(StrEnum):
    """The products, mod 2**64."""

    ELEMENTWISE = "elementwise"
    MATRIX = "matrix"

    def __call__(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left * right if self is Bilinear.ELEMENTWISE else ring_matmul(left, right)


@dataclass(frozen=True)
class MaskedProduct(Protocol):
    """x * y or x @ y of Masked wires.

    A right operand that is known before the inference (a weight, opened once per model load) leaves one product for the
    online step; the other, mu_i y^, does not depend on the input and is done when the material arrives.

    Attributes:
        product: the bilinear map.
        macs: multiply-accumulates of one product.
    """

    product: Bilinear
    macs: int

    def online_work_s(self) -> float:
        return self.macs / _MACS_PER_S

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        left, right = map(dealt_mask, inputs)
        return Dealt(-self.product(left, right))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        left, right = inputs
        if not isinstance(right, Masked):
            return Prepared(None)
        return Prepared((share_of(right, side.party), self.product(tensor_mask(left), right.hat)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        left, right = masked(*inputs)
        if prepared.state is not None:
            weight_share, mask_product = prepared.state
            return shared(self.product(left.hat, weight_share) - mask_product)
        return shared(self.product(left.hat, share_of(right, party)) - self.product(left.mask, right.hat))


@runs(Linear)
def linear(op: Linear, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only protocol."""
    return [MaskedProduct(Bilinear.MATRIX, op.macs(inputs))]


@runs(Matmul)
def matmul(op: Matmul, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only protocol."""
    return [MaskedProduct(Bilinear.MATRIX, op.macs(inputs))]


@runs(Multiply)
def multiply(op: Multiply, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only protocol."""
    return [MaskedProduct(Bilinear.ELEMENTWISE, op.macs(inputs))]
