"""From Shared to Masked: one opening, with exact truncation for free (DESIGN 4.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np

from mpcvit.ops.protocol import Form, Known, Prepared, Protocol, Secret, tensor_mask
from mpcvit.ops.types import Shape
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Masked, Opening, Reopen, Step, Wire, Words, share_of, tensor_of, words

#: Added before opening, so that the dealer can tell from its mask alone whether the sum wraps.
_CENTRE = 1 << 62
#: Largest K; beyond it half of all openings would be ambiguous.
MAX_BOUND_BITS = 61
_WRAPS_FROM = np.uint64(3 << 62)


@dataclass(frozen=True)
class PlainOpening(Protocol):
    """Opens z + mu of a Shared z, for a uniform mu. Absorbs the offset of z."""

    shape: Shape
    form = Form.MASKED

    def openings(self) -> tuple[int, ...]:
        return (8 * math.prod(self.shape),)

    def material(self) -> tuple[int, int]:
        return 0, 8 * math.prod(self.shape)

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (offset,) = inputs
        mask = dealing.random((1, *self.shape))
        mask = mask if offset is None else mask + offset
        dealing.share(mask)
        return mask

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        noise = material.random((1, *self.shape))
        return Prepared(noise, mask=material.share((1, *self.shape)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (z,) = inputs
        opened = yield Opening(words(share_of(z, party) + prepared.state))
        return Masked(tensor_of(opened, (1, *self.shape)), tensor_mask(prepared.mask))


@dataclass(frozen=True)
class TruncatingOpening(Protocol):
    """Opens D = z + 2^62 + r and takes x^ = (D >> f) - 2^(62 - f); mu = (r >> f) - [r >= 3 * 2^62] 2^(64 - f).

    x^ - mu is z / 2^f, rounded up with probability equal to the fraction (by r mod 2^f): unbiased. It can only be wrong
    if D lies in [-2^K, 2^K), which both parties see: they open again with a spare mask. |z| < 2^K.

    Attributes:
        shape: of z, without batch axis.
        source: the form of z.
        bits: f, in [1, 61].
        bound_bits: K, in [f, 61].
    """

    shape: Shape
    source: Form
    bits: int
    bound_bits: int
    form = Form.MASKED

    def openings(self) -> tuple[int, ...]:
        return (8 * math.prod(self.shape),)

    def material(self) -> tuple[int, int]:
        return 0, 8 * math.prod(self.shape)

    def reopen_probability(self) -> float:
        """The chance that one use opens again."""
        return math.prod(self.shape) * 2.0 ** (self.bound_bits - 63)

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (offset,) = inputs
        r = dealing.random((1, *self.shape))
        r = r if offset is None or self.source is Form.MASKED else r + offset
        mask = np.empty(r.numel(), dtype=np.uint64)
        _truncated_mask(words(r), np.uint64(self.bits), mask)
        truncated = tensor_of(mask, tuple(r.shape))
        dealing.share(truncated)
        dealing.rounding = r & ((1 << self.bits) - 1)
        return truncated

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        noise = material.random((1, *self.shape))
        if material.party == 0:
            noise += _CENTRE
        return Prepared(noise, mask=material.share((1, *self.shape)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (z,) = inputs
        share = share_of(z, party)
        while True:
            opened = yield Opening(words(share + prepared.state))
            hat = np.empty_like(opened)
            if not _truncate(opened, np.uint64(self.bits), np.uint64(self.bound_bits), hat):
                return Masked(tensor_of(hat, (1, *self.shape)), tensor_mask(prepared.mask))
            prepared = yield Reopen()


@numba.njit(cache=True, nogil=True)
def _truncated_mask(r: Words, bits: np.uint64, out: Words) -> None:  # pragma: no cover - compiled
    high = np.uint64(64) - bits
    for i in range(r.size):
        wraps = np.uint64(1) if r[i] >= _WRAPS_FROM else np.uint64(0)
        out[i] = (r[i] >> bits) - (wraps << high)


@numba.njit(cache=True, nogil=True)
def _truncate(opened: Words, bits: np.uint64, bound_bits: np.uint64, out: Words) -> bool:  # pragma: no cover - compiled
    """Fills ``out`` with the masked truncated values; whether any element lies in the ambiguous zone."""
    centre = np.uint64(1) << (np.uint64(62) - bits)
    bound = np.uint64(1) << bound_bits
    ambiguous = False
    for i in range(opened.size):
        out[i] = (opened[i] >> bits) - centre
        ambiguous |= opened[i] + bound < np.uint64(2) * bound
    return ambiguous
