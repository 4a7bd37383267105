"""The sign bit of a Masked wire as additive shares in no round, by longer keys."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mpcvit.engines.masked.layout import Layout
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Known, Prepared, Protocol, Secret, Side, dealt_mask
from mpcvit.engines.masked.protocols.guarded_sign import GuardedSign
from mpcvit.engines.masked.protocols.sign_by_dcf import SignByDcf
from mpcvit.engines.masked.wires import Step, Wire, masked, tensor_of, words
from mpcvit.engines.shared import shared
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape

#: Seconds of one core per element and tree level, roughly.
_LEVEL_S = 20e-9


@dataclass(frozen=True)
class NonnegativeByDcf(Protocol):
    """A distributed comparison function with payload 1 gives additive shares of the bit: no round.

    Boyle et al., Eurocrypt 2021, section 3.

    Attributes:
        shape: of x, without batch axis.
        window: the bits of x that decide; it drops none.
    """

    shape: Shape
    window: SignWindow

    def with_guard(self) -> Protocol:
        return GuardedNonnegative(self.shape, self.window)

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    @property
    def _sign(self) -> SignByDcf | GuardedSign:
        return SignByDcf(self._size, self.window, 1)

    def layout(self) -> Layout:
        return self._sign.layout()

    def online_work_s(self) -> float:
        return self._size * 2 * _LEVEL_S * self.window.width

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        ones = np.ones((self._size, 1), dtype=np.uint64)
        return Dealt(sent=self._sign.deal(session, drawn, words(dealt_mask(*inputs)), ones))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        return Prepared(self._sign.prepare(side, taken))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = masked(*inputs)
        known = np.full((self._size, 1), 1 - party, dtype=np.uint64)
        sign = yield from self._sign.read(prepared.state, words(x.hat), known)
        return shared(tensor_of(np.ascontiguousarray(sign[:, 0]), tuple(x.hat.shape)))


@dataclass(frozen=True)
class GuardedNonnegative(NonnegativeByDcf):
    """:class:`NonnegativeByDcf` that also says whether x lay in the window."""

    def with_guard(self) -> Protocol:
        return self

    @property
    def _sign(self) -> GuardedSign:
        return GuardedSign(self._size, self.window, 1)

    def online_work_s(self) -> float:
        return 2 * super().online_work_s()
