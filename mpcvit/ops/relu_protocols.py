"""ReLU of a Masked wire by function secret sharing: a sign bit and a selection, or no round at all (longer keys)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpcvit.fss import compare, dcf
from mpcvit.fss.tree_hash import TreeHash
from mpcvit.ops.protocol import Known, Prepared, Protocol, Secret
from mpcvit.ops.relu_by_sign import Comparison, ReluBySign
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Step, Wire, Words, shared, tensor_of, words

#: Seconds of one core per element and tree level, roughly.
_LEVEL_S = 20e-9
_ONE = np.uint64(1)


@dataclass(frozen=True)
class ReluByBit(ReluBySign):
    """The sign bit from a DPF comparison: no round but that of the selection."""

    def comparison_openings(self) -> tuple[int, ...]:
        return ()

    def comparison_material(self) -> tuple[int, int]:
        key = compare.key_bytes(self.window.width) * self.size
        return key, key

    def online_work_s(self) -> float:
        return self.size * _LEVEL_S * max(self.window.width - 6, 1)

    def deal_comparison(self, dealing: NodeDealing, low: Words) -> None:
        tree_hash = TreeHash.for_session(dealing.session)
        dealing.publish(compare.deal(tree_hash, low, self.window.width, dealing.seeds(self.size)))

    def take_comparison(self, material: NodeMaterial) -> Any:
        root = material.seeds(self.size)
        key = material.publish((compare.key_bytes(self.window.width) // 16, self.size, 2))
        return TreeHash.for_session(material.session), root, key

    def compare(self, party: int, state: Any, low: Words) -> Comparison:
        yield from ()
        tree_hash, root, key = state
        return compare.evaluate(tree_hash, party, root, key, low, self.window.width)


@dataclass(frozen=True)
class ReluByDcf(Protocol):
    """A distributed comparison function with payload (1, mu) gives additive shares of b and b mu: no round.

    Boyle et al., Eurocrypt 2021, section 3.
    """

    shape: Shape
    window: SignWindow

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    def openings(self) -> tuple[int, ...]:
        return ()

    def material(self) -> tuple[int, int]:
        key = dcf.key_bytes(self.window.width, 2) * self._size
        return key, key + 2 * 8 * self._size

    def online_work_s(self) -> float:
        return self._size * 2 * _LEVEL_S * self.window.width

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (mask,) = inputs
        assert mask is not None  # noqa: S101 - Masked by plan
        low, top = self.window.of_mask(words(mask))
        deal_sign(dealing, low, top, np.stack([np.ones_like(low), words(mask)], axis=1), self.window.width)
        dealing.rounding = tensor_of(self.window.rounding(words(mask)), tuple(mask.shape))
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        return Prepared(take_sign(material, self._size, self.window.width, 2))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (x,) = inputs
        low, top = self.window.of_hat(words(x.hat))
        mask = words(x.mask)
        known = np.stack([np.full_like(mask, 1 if party == 0 else 0), mask], axis=1)
        sign = evaluate_sign(party, prepared.state, low, top, known, self.window.width)
        return shared(tensor_of(words(x.hat) * sign[:, 0] - sign[:, 1], tuple(x.hat.shape)))


def deal_sign(dealing: NodeDealing, low: Words, top: Words, payload: Words, width: int) -> None:
    """Keys for shares of [x >= 0] * payload, payload [N, m].

    With m = top(mask) and l = [low(y^) < low(mask)]: m xor l = m + (1 - 2m) l, so the DCF carries (1 - 2m) payload and
    m payload is shared beside it; the public top(y^) only decides between that and its complement.
    """
    factor = _ONE - np.uint64(2) * top
    tree_hash = TreeHash.for_session(dealing.session)
    key, values = dcf.deal(tree_hash, low, width, factor[:, None] * payload, dealing.seeds(len(low)))
    dealing.publish(key)
    dealing.publish(values)
    dealing.share(tensor_of((top[:, None] * payload).reshape(-1), payload.shape))


def take_sign(
    material: NodeMaterial, size: int, width: int, payload: int
) -> tuple[TreeHash, Words, Words, Words, Words]:
    """The party's side of :func:`deal_sign`."""
    root = material.seeds(size)
    key = material.publish((width - 1, size, 2))
    values = material.publish((width, size, payload))
    top = words(material.share((size, payload))).reshape(size, payload)
    return TreeHash.for_session(material.session), root, key, values, top


def evaluate_sign(
    party: int,
    state: tuple[TreeHash, Words, Words, Words, Words],
    low: Words,
    top: Words,
    known: Words,
    width: int,
) -> Words:
    """Shares of [x >= 0] * payload at one or several points.

    Args:
        low, top: of the masked values, [N] or [points, N].
        known: this party's share of the payload itself, [N, m].
    """
    tree_hash, root, key, values, top_share = state
    flipped = top_share + dcf.evaluate(tree_hash, party, root, key, values, low, width)
    return np.where(top[..., None] == 1, known - flipped, flipped)
