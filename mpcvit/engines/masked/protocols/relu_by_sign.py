"""ReLU of a Masked wire from its sign bit: what all ways to find that bit share (docs/protocols.md, ReLU)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from mpcvit.engines.masked.layout import Layout, RandomBits, SharedWords, packed_bytes
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Known, Prepared, Protocol, Secret, Side, dealt_mask
from mpcvit.engines.masked.sign_cut import cut_hat, cut_mask, rounding
from mpcvit.engines.masked.wires import BitArray, Opening, Step, Wire, masked, tensor_of, words
from mpcvit.engines.shared import shared
from mpcvit.fss.checks import Words
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape

#: Yields what is to be opened, is sent what was opened, returns this party's XOR shares of a bit per element.
Comparison = Generator[Opening, Any, BitArray]


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
        """Return the bytes that each party sends in each round of the comparison."""

    @abstractmethod
    def comparison_layout(self) -> Layout:
        """Return the items of the comparison's material."""

    @abstractmethod
    def deal_comparison(self, session: bytes, drawn: Values, low: Words) -> Values:
        """Return the sent items of what the parties need to compare public points with the mask's ``low``."""

    @abstractmethod
    def prepare_comparison(self, side: Side, taken: Values) -> Any:
        """Return what :meth:`compare` needs of a party's values."""

    @abstractmethod
    def compare(self, party: int, state: Any, low: Words) -> Comparison:
        """Return XOR shares of [low < the mask's low], uint8 0 or 1."""

    def openings(self) -> tuple[int, ...]:
        return (*self.comparison_openings(), packed_bytes(self.size))

    def layout(self) -> Layout:
        shape = (1, *self.shape)
        return RandomBits(self.size), self.comparison_layout(), SharedWords(shape), SharedWords(shape)

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask = dealt_mask(*inputs)
        noise, comparison = drawn
        low, top = cut_mask(self.window, words(mask))
        bit = tensor_of(np.unpackbits(noise, count=self.size) ^ top, tuple(mask.shape))
        sent = (*self.deal_comparison(session, comparison, low), bit, bit * mask)
        return Dealt(sent=sent, rounding=tensor_of(rounding(self.window, words(mask)), tuple(mask.shape)))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        noise, comparison, bit, bit_mask = taken
        noise = np.unpackbits(noise, count=self.size)
        return Prepared((noise, self.prepare_comparison(side, comparison), bit, bit_mask))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = masked(*inputs)
        noise, comparison, bit, bit_mask = prepared.state
        low, top = cut_hat(self.window, words(x.hat))
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
    hat: Words, mask: Words, flips: BitArray, bit: Words, bit_mask: Words, one: np.uint64, out: Words
) -> None:  # pragma: no cover - compiled
    """Return shares of b x^ - b mu, b = t or 1 - t, from shares of t and t mu."""
    for i in range(hat.size):
        if flips[i]:
            out[i] = hat[i] * (one - bit[i]) - (mask[i] - bit_mask[i])
        else:
            out[i] = hat[i] * bit[i] - bit_mask[i]
