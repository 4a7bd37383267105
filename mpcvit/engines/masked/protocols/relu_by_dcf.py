"""ReLU in no round: a DCF gives the sign and its product with the mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mpcvit.engines.masked.layout import Layout
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Known, Prepared, Protocol, Secret, Side, dealt_mask
from mpcvit.engines.masked.protocols.guarded_sign import GuardedSign
from mpcvit.engines.masked.protocols.sign_by_dcf import SignByDcf
from mpcvit.engines.masked.sign_cut import rounding
from mpcvit.engines.masked.wires import Step, Wire, masked, tensor_of, words
from mpcvit.engines.shared import shared
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape

#: Seconds of one core per element and tree level, roughly.
_LEVEL_S = 20e-9


@dataclass(frozen=True)
class ReluByDcf(Protocol):
    """A distributed comparison function with payload (1, mu) gives additive shares of b and b mu: no round.

    Boyle et al., Eurocrypt 2021, section 3.

    Attributes:
        shape: of x, without batch axis.
        window: the bits of x that decide.
    """

    shape: Shape
    window: SignWindow

    def with_guard(self) -> Protocol:
        return GuardedRelu(self.shape, self.window)

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    @property
    def _sign(self) -> SignByDcf | GuardedSign:
        return SignByDcf(self._size, self.window, 2)

    def layout(self) -> Layout:
        return self._sign.layout()

    def online_work_s(self) -> float:
        return self._size * 2 * _LEVEL_S * self.window.width

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask = dealt_mask(*inputs)
        flat = words(mask)
        sent = self._sign.deal(session, drawn, flat, np.stack([np.ones_like(flat), flat], axis=1))
        return Dealt(sent=sent, rounding=tensor_of(rounding(self.window, flat), tuple(mask.shape)))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        return Prepared(self._sign.prepare(side, taken))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = masked(*inputs)
        hat, mask = words(x.hat), words(x.mask)
        known = np.stack([np.full_like(mask, 1 - party), mask], axis=1)
        sign = yield from self._sign.read(prepared.state, hat, known)
        return shared(tensor_of(hat * sign[:, 0] - sign[:, 1], tuple(x.hat.shape)))


@dataclass(frozen=True)
class GuardedRelu(ReluByDcf):
    """:class:`ReluByDcf` that also says whether x lay in the window."""

    def with_guard(self) -> Protocol:
        return self

    @property
    def _sign(self) -> GuardedSign:
        return GuardedSign(self._size, self.window, 2)

    def online_work_s(self) -> float:
        return 2 * super().online_work_s()
