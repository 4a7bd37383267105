"""Whether all codes of a Masked wire are small, for codes too wide for unit vectors: one comparison per code."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mpcvit.engines.masked.dcf_keys import DcfKeys
from mpcvit.engines.masked.layout import Layout, SharedWords
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
from mpcvit.engines.masked.wires import Agreement, Step, Wire, masked, side_of_zero, tensor_of, words
from mpcvit.fss.checks import Words
from mpcvit.ops.input_check import out_of_range
from mpcvit.ops.types import Shape

#: Seconds of one core per element and tree level, roughly.
_LEVEL_S = 20e-9


@dataclass(frozen=True)
class InputCheckByDcf(Protocol):
    """Shares of x - (x mod 2**bits), zero for all codes or the run ends.

    With high(v) = v - (v mod 2**bits), x - (x mod 2**bits) = high(x^) - high(mu) - 2**bits [low(x^) < low(mu)], exact
    in the ring. The dealer shares high(mu), and a comparison function gives the last term (Boyle et al., Eurocrypt
    2021, section 3). The parties compare digests as in :mod:`mpcvit.engines.masked.protocols.input_check_by_dpf`.

    Attributes:
        shape: of x, without batch axis.
        bits: of a valid code.
    """

    shape: Shape
    bits: int
    form = Form.MASKED
    agreements = 1

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    @property
    def _keys(self) -> DcfKeys:
        return DcfKeys(self._size, self.bits, 1)

    @property
    def _low(self) -> np.uint64:
        return np.uint64((1 << self.bits) - 1)

    def layout(self) -> Layout:
        return self._keys.layout(), SharedWords((self._size,))

    def online_work_s(self) -> float:
        return self._size * 2 * _LEVEL_S * self.bits

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        (keys,) = drawn
        mask = dealt_mask(*inputs)
        mu = words(mask)
        borrow = np.full((self._size, 1), 1 << self.bits, dtype=np.uint64)
        high: Words = mu & ~self._low
        sent = *self._keys.deal(session, keys, mu & self._low, borrow), tensor_of(high, high.shape)
        return Dealt(mask, sent)

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        keys, high = taken
        return Prepared((side, keys, words(high)), mask=tensor_mask(*inputs))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = masked(*inputs)
        side, keys, mask_high = prepared.state
        hat = words(x.hat)
        borrowed = self._keys.evaluate(side, keys, hat & self._low)[:, 0]
        rest = (hat & ~self._low) * np.uint64(1 - party) - mask_high - borrowed
        yield Agreement(side_of_zero(rest, party), out_of_range(self.bits))
        return x
