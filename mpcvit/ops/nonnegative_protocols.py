"""The sign bit of a Masked wire as additive shares: through one opened bit, or in no round at all (longer keys)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.fss import compare, dcf
from mpcvit.fss.tree_hash import TreeHash
from mpcvit.ops.protocol import Known, Prepared, Protocol, Secret
from mpcvit.ops.relu_protocols import deal_sign, evaluate_sign, take_sign
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Bits, Opening, Step, Wire, shared, tensor_of, words

#: Seconds of one core per element and tree level, roughly.
_LEVEL_S = 20e-9


@dataclass(frozen=True)
class NonnegativeByBit(Protocol):
    """A DPF comparison gives XOR shares of the sign bit b; b xor t is opened, a packed bit per element.

    The dealer shares t, its random bit xor the top bit of its mask, as a number, and b = t or 1 - t.

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
        return (-(-self._size // 8),)

    def material(self) -> tuple[int, int]:
        key = compare.key_bytes(self.window.width) * self._size
        return key, key + 8 * self._size

    def online_work_s(self) -> float:
        return self._size * _LEVEL_S * max(self.window.width - 6, 1)

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (mask,) = inputs
        assert mask is not None  # noqa: S101 - Masked by plan
        low, top = self.window.of_mask(words(mask))
        noise = np.unpackbits(dealing.random_bits(self._size), count=self._size).astype(np.uint64)
        roots = dealing.seeds(self._size)
        dealing.publish(compare.deal(TreeHash.for_session(dealing.session), low, self.window.width, roots))
        dealing.share(tensor_of(noise ^ top, tuple(mask.shape)))
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        noise = np.unpackbits(material.random_bits(self._size), count=self._size)
        root = material.seeds(self._size)
        key = material.publish((compare.key_bytes(self.window.width) // 16, self._size, 2))
        return Prepared(
            (TreeHash.for_session(material.session), noise, root, key, material.share((1, *self.shape))),
        )

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = inputs
        tree_hash, noise, root, key, bit = prepared.state
        low, top = self.window.of_hat(words(x.hat))
        share: Bits = compare.evaluate(tree_hash, party, root, key, low, self.window.width) ^ noise
        if party == 0:
            share = share ^ top.astype(np.uint8)
        opened = yield Opening(np.packbits(share))
        flipped = torch.from_numpy(np.unpackbits(opened, count=self._size)).reshape(x.hat.shape).bool()
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
