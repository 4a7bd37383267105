"""The sign bit of a Masked wire as additive shares, through one opened bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.engines.masked.layout import Layout, RandomBits, SharedWords
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Known, Prepared, Protocol, Secret, Side, dealt_mask
from mpcvit.engines.masked.protocols.relu_by_sign import ReluBySign
from mpcvit.engines.masked.sign_cut import cut_hat, cut_mask
from mpcvit.engines.masked.wires import Opening, Step, Wire, masked, tensor_of, words
from mpcvit.engines.shared import shared


@dataclass(frozen=True)
class NonnegativeByBit(Protocol):
    """A comparison gives XOR shares of the sign bit b; b xor t is opened, a packed bit per element.

    The dealer shares t, its random bit xor the top bit of its mask, as a number, and b = t or 1 - t.

    Attributes:
        sign: a way to compare; its window drops no bits.
    """

    sign: ReluBySign

    def openings(self) -> tuple[int, ...]:
        return self.sign.openings()

    def layout(self) -> Layout:
        return RandomBits(self.sign.size), self.sign.comparison_layout(), SharedWords((1, *self.sign.shape))

    def online_work_s(self) -> float:
        return self.sign.online_work_s()

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask = dealt_mask(*inputs)
        noise, comparison = drawn
        low, top = cut_mask(self.sign.window, words(mask))
        bit = tensor_of(np.unpackbits(noise, count=self.sign.size) ^ top, tuple(mask.shape))
        return Dealt(sent=(*self.sign.deal_comparison(session, comparison, low), bit))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        noise, comparison, bit = taken
        noise = np.unpackbits(noise, count=self.sign.size)
        return Prepared((noise, self.sign.prepare_comparison(side, comparison), bit))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = masked(*inputs)
        noise, comparison, bit = prepared.state
        low, top = cut_hat(self.sign.window, words(x.hat))
        share = (yield from self.sign.compare(party, comparison, low)) ^ noise
        if party == 0:
            share ^= top.astype(np.uint8)
        opened = yield Opening(np.packbits(share))
        flipped = torch.from_numpy(np.unpackbits(opened, count=self.sign.size)).reshape(x.hat.shape).bool()
        return shared(torch.where(flipped, (1 if party == 0 else 0) - bit, bit))
