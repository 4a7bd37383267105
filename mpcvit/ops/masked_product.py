"""Products of two Masked wires in the fast engine: no round, no material (DESIGN 4.3).

With x = x^ - mu and y = y^ - nu, party i computes z_i = x^ (1{i=0} y^ - nu_i) - mu_i y^. The shares add up to
x y - mu nu: the dealer knows the offset -mu nu, and the next opening absorbs it in its mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from mpcvit.ops.protocol import Known, Prepared, Protocol, Secret, tensor_mask
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.ring_matmul import ring_matmul
from mpcvit.session.wires import Masked, Step, Wire, share_of, shared

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
    leaves_offset = True

    def openings(self) -> tuple[int, ...]:
        return ()

    def online_work_s(self) -> float:
        return self.macs / _MACS_PER_S

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        left, right = inputs
        assert left is not None and right is not None  # noqa: S101, PT018 - both Masked by plan
        return -self.product(left, right)

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        left, right = inputs
        if not isinstance(right, Masked):
            return Prepared(None)
        return Prepared((share_of(right, material.party), self.product(tensor_mask(left), right.hat)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        left, right = inputs
        if prepared.state is not None:
            weight_share, mask_product = prepared.state
            return shared(self.product(left.hat, weight_share) - mask_product)
        return shared(self.product(left.hat, share_of(right, party)) - self.product(left.mask, right.hat))


@dataclass(frozen=True)
class MaskedSquare(Protocol):
    """x**2 of a Masked wire: x^^2 - 2 x^ mu + mu^2, the last term left to the next opening."""

    leaves_offset = True

    def openings(self) -> tuple[int, ...]:
        return ()

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (mask,) = inputs
        assert mask is not None  # noqa: S101 - Masked by plan
        return -(mask * mask)

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        return Prepared(None)

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (x,) = inputs
        cross = -2 * x.hat * x.mask
        return shared(cross + x.hat * x.hat if party == 0 else cross)
