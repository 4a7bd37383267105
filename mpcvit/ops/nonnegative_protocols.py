"""The sign bit of a Masked wire as additive shares: through one opened bit, or in no round at all (longer keys)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.fss import dcf
from mpcvit.ops.protocol import Known, Prepared, Protocol, Secret
from mpcvit.ops.relu_by_sign import ReluBySign
from mpcvit.ops.relu_protocols import deal_sign, evaluate_sign, take_sign
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Opening, Step, Wire, shared, tensor_of, words

#: Seconds of one core per element and tree level, roughly.
_LEVEL_S = 20e-9


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

    def material(self) -> tuple[int, int]:
        first, second = self.sign.comparison_material()
        return first, second + 8 * self.sign.size

    def online_work_s(self) -> float:
        return self.sign.online_work_s()

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (mask,) = inputs
        assert mask is not None  # noqa: S101 - Masked by plan
        low, top = self.sign.window.of_mask(words(mask))
        noise = np.unpackbits(dealing.random_bits(self.sign.size), count=self.sign.size).astype(np.uint64)
        self.sign.deal_comparison(dealing, low)
        dealing.share(tensor_of(noise ^ top, tuple(mask.shape)))
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        noise = np.unpackbits(material.random_bits(self.sign.size), count=self.sign.size)
        return Prepared((noise, self.sign.take_comparison(material), material.share((1, *self.sign.shape))))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = inputs
        noise, comparison, bit = prepared.state
        low, top = self.sign.window.of_hat(words(x.hat))
        share = (yield from self.sign.compare(party, comparison, low)) ^ noise
        if party == 0:
            share ^= top.astype(np.uint8)
        opened = yield Opening(np.packbits(share))
        flipped = torch.from_numpy(np.unpackbits(opened, count=self.sign.size)).reshape(x.hat.shape).bool()
        return shared(torch.where(flipped, (1 if party == 0 else 0) - bit, bit))


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

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    def openings(self) -> tuple[int, ...]:
        return ()

    def material(self) -> tuple[int, int]:
        key = dcf.key_bytes(self.window.width, 1) * self._size
        return key, key + 8 * self._size

    def online_work_s(self) -> float:
        return self._size * 2 * _LEVEL_S * self.window.width

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (mask,) = inputs
        assert mask is not None  # noqa: S101 - Masked by plan
        low, top = self.window.of_mask(words(mask))
        deal_sign(dealing, low, top, np.ones((self._size, 1), dtype=np.uint64), self.window.width)
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        return Prepared(take_sign(material, self._size, self.window.width, 1))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (x,) = inputs
        low, top = self.window.of_hat(words(x.hat))
        known = np.full((self._size, 1), 1 if party == 0 else 0, dtype=np.uint64)
        sign = evaluate_sign(party, prepared.state, low, top, known, self.window.width)
        return shared(tensor_of(np.ascontiguousarray(sign[:, 0]), tuple(x.hat.shape)))
