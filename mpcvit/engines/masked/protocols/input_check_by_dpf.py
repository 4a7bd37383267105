"""Whether all codes of a Masked wire are small, in no round: equal digests of two vectors say so (see protocols.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mpcvit.engines.masked.layout import Layout
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import (
    Dealt,
    Form,
    Known,
    Prepared,
    Protocol,
    Secret,
    Side,
    dealt_mask,
    tensor_mask,
)
from mpcvit.engines.masked.unit_vector_keys import UnitVectorKeys
from mpcvit.engines.masked.wires import Agreement, Step, Wire, masked, share_of, side_of_zero, words
from mpcvit.fss import lookup
from mpcvit.ops.input_check import out_of_range
from mpcvit.ops.types import Shape


@dataclass(frozen=True)
class InputCheckByDpf(Protocol):
    """Shares of x - (x mod 2**bits), zero for all codes or the run ends.

    A unit vector at the mask's low bits, read at those of x^, gives shares of x mod 2**bits, exact in the ring whatever
    x is. The difference to x is 0 if and only if x lies in [0, 2**bits): then party 0's share of it and the negative of
    party 1's are the same word. The parties compare digests of all these words.

    Attributes:
        shape: of x, without batch axis.
        bits: of a valid code.
    """

    shape: Shape
    bits: int
    form = Form.MASKED
    agreements = 1

    @property
    def _keys(self) -> UnitVectorKeys:
        return UnitVectorKeys(math.prod(self.shape), self.bits, 1)

    def layout(self) -> Layout:
        return self._keys.layout()

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask = dealt_mask(*inputs)
        ones = np.ones((self._keys.count, 1), dtype=np.uint64)
        return Dealt(mask, self._keys.deal(session, drawn, words(mask), ones))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        return Prepared((side.session, taken), mask=tensor_mask(*inputs))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = masked(*inputs)
        session, taken = prepared.state
        (low,) = self._keys.read(session, party, taken, words(x.hat), lookup.index_table(self.bits, 1)[None], 0)
        rest = words(share_of(x, party)) - low
        yield Agreement(side_of_zero(rest, party), out_of_range(self.bits))
        return x
