"""ReLU of a Masked wire from its sign bit: what all ways to find that bit share (DESIGN 4.4, "ReLU / select")."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from mpcvit.ops.protocol import Known, Prepared, Protocol, Secret
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Bits, Opening, Step, Wire, Words, shared, tensor_of, words

#: Yields what is to be opened, is sent what was opened, returns this party's XOR shares of a bit per element.
Comparison = Generator[Opening, Any, Bits]


@dataclass(frozen=True)
class ReluBySign(Protocol):
    """A comparison gives XOR shares of the sign bit b; b xor t is opened, a packed bit per element.

    The dealer shares t and t * mu, so that b x = b x^ - b mu is local: the dealer's t is its random bit xor the top bit
    of its mask, which costs nothing to share. Reference: mpc_protocols section 3, "DReLU" and "Select".

    Attributes:
        shape: of x, without batch axis.
        window: the bits of x that decide.
    """

    shape: Shape
    window: SignWindow

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @abstractmethod
    def comparison_openings(self) -> tuple[int, ...]:
        """Bytes that each party sends in each round of the comparison."""

    @abstractmethod
    def comparison_material(self) -> tuple[int, int]:
        """Bytes that the dealer sends to each party for the comparison."""

    @abstractmethod
    def deal_comparison(self, dealing: NodeDealing, low: Words) -> None:
        """Deal what the parties need to compare public points with the mask's ``low``."""

    @abstractmethod
    def take_comparison(self, material: NodeMaterial) -> Any:
        """The party's side of :meth:`deal_comparison`."""

    @abstractmethod
    def compare(self, party: int, state: Any, low: Words) -> Comparison:
        """XOR shares of [low < the mask's low], uint8 0 or 1."""

    def openings(self) -> tuple[int, ...]:
        return (*self.comparison_openings(), -(-self.size // 8))

    def material(self) -> tuple[int, int]:
        first, second = self.comparison_material()
        return first, second + 2 * 8 * self.size

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (mask,) = inputs
        assert mask is not None  # noqa: S101 - Masked by plan
        low, top = self.window.of_mask(words(mask))
        noise = np.unpackbits(dealing.random_bits(self.size), count=self.size).astype(np.uint64)
        self.deal_comparison(dealing, low)
        bit = tensor_of(noise ^ top, tuple(mask.shape))
        dealing.share(bit)
        dealing.share(bit * mask)
        dealing.rounding = tensor_of(self.window.rounding(words(mask)), tuple(mask.shape))
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        shape = (1, *self.shape)
        noise = np.unpackbits(material.random_bits(self.size), count=self.size)
        return Prepared((noise, self.take_comparison(material), material.share(shape), material.share(shape)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = inputs
        noise, comparison, bit, bit_mask = prepared.state
        low, top = self.window.of_hat(words(x.hat))
        share = (yield from self.compare(party, comparison, low)) ^ noise
        if party == 0:
            share ^= top.astype(np.uint8)
        opened = yield Opening(np.packbits(share))
        flips = np.unpackbits(opened, count=self.size)
        result = np.empty(self.size, dtype=np.uint64)
        one = np.uint64(1 if party == 0 else 0)
        _select(words(x.hat), words(x.mask), flips, words(bit), words(bit_mask), one, result)
        return shared(tensor_of(result, tuple(x.hat.shape)))


@numba.njit(cache=True, nogil=True)
def _select(
    hat: Words, mask: Words, flips: Bits, bit: Words, bit_mask: Words, one: np.uint64, out: Words
) -> None:  # pragma: no cover - compiled
    """Shares of b x^ - b mu, b = t or 1 - t, from shares of t and t mu."""
    for i in range(hat.size):
        if flips[i]:
            out[i] = hat[i] * (one - bit[i]) - (mask[i] - bit_mask[i])
        else:
            out[i] = hat[i] * bit[i] - bit_mask[i]
