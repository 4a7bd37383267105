"""From Shared to Masked: one opening, with exact truncation for free (docs/protocols.md, Openings)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.layout import Layout, RandomWords, SharedWords
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, tensor_mask
from mpcvit.engines.masked.wires import AmbiguousOpening, Masked, Opening, Step, Wire, share_of, tensor_of, words
from mpcvit.errors import RangeError
from mpcvit.fss.checks import Words
from mpcvit.ops import TensorType
from mpcvit.ops.rescale import Rescale
from mpcvit.ops.types import Shape

#: Added before opening, so that the dealer can tell from its mask alone whether the sum wraps.
_CENTRE = 1 << 62
#: Bits of the largest z; beyond them half of all openings would be ambiguous.
_MAX_BOUND_BITS = 61
_WRAPS_FROM = np.uint64(3 << 62)


@dataclass(frozen=True)
class TruncatingOpening(Protocol):
    """Opens D = z + 2^62 + r and takes x^ = (D >> f) - 2^(62 - f); mu = (r >> f) - [r >= 3 * 2^62] 2^(64 - f).

    x^ - mu is z / 2^f, rounded up with probability equal to the fraction (by r mod 2^f): unbiased. It can only be wrong
    if D lies in [lo, hi), which both parties see: then the inference starts again on other material.

    Attributes:
        shape: of z, without batch axis.
        source: the form of z.
        bits: f, in [1, 61].
        lo, hi: z lies between them, ends included; lo <= 0 < hi.
    """

    shape: Shape
    source: Form
    bits: int
    lo: int
    hi: int
    form = Form.MASKED

    def openings(self) -> tuple[int, ...]:
        return (8 * math.prod(self.shape),)

    def layout(self) -> Layout:
        return RandomWords((1, *self.shape)), SharedWords((1, *self.shape))

    def repeat_probability(self) -> float:
        """Bound the chance that one use is ambiguous."""
        return math.prod(self.shape) * (self.hi - self.lo) * 2.0**-64

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        ((offset,), (r,)) = inputs, drawn
        r = r if offset is None or self.source is Form.MASKED else r + offset
        mask = np.empty(r.numel(), dtype=np.uint64)
        _truncated_mask(words(r), np.uint64(self.bits), mask)
        truncated = tensor_of(mask, tuple(r.shape))
        return Dealt(truncated, (truncated,), rounding=r & ((1 << self.bits) - 1))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        noise, mask = taken
        return Prepared(noise + _CENTRE if side.party == 0 else noise, mask)

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (z,) = inputs
        opened = yield Opening(words(share_of(z, party) + prepared.state))
        hat = np.empty_like(opened)
        if _truncate(opened, np.uint64(self.bits), np.uint64(self.lo % 2**64), np.uint64(self.hi - self.lo), hat):
            raise AmbiguousOpening
        return Masked(tensor_of(hat, (1, *self.shape)), tensor_mask(prepared.mask))


@numba.njit(cache=True, nogil=True)
def _truncated_mask(r: Words, bits: np.uint64, out: Words) -> None:  # pragma: no cover - compiled
    high = np.uint64(64) - bits
    for i in range(r.size):
        wraps = np.uint64(1) if r[i] >= _WRAPS_FROM else np.uint64(0)
        out[i] = (r[i] >> bits) - (wraps << high)


@numba.njit(cache=True, nogil=True)
def _truncate(
    opened: Words, bits: np.uint64, lo: np.uint64, width: np.uint64, out: Words
) -> bool:  # pragma: no cover - compiled
    """Fill ``out`` with the masked truncated values; whether any element lies in the ambiguous zone."""
    centre = np.uint64(1) << (np.uint64(62) - bits)
    ambiguous = False
    for i in range(opened.size):
        out[i] = (opened[i] >> bits) - centre
        ambiguous |= opened[i] - lo < width
    return ambiguous


@runs(Rescale, masked=False)
def rescale(op: Rescale, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only way.

    Raises:
        RangeError: the codes are too large to be opened.
    """
    (x,) = inputs
    if x.qtype.code_bound.bit_length() > _MAX_BOUND_BITS:
        raise RangeError(
            f"rescale of codes up to 2**{x.qtype.code_bound.bit_length()}",
            expected=f"codes below 2**{_MAX_BOUND_BITS} for the fast engine",
            remedy="Use fewer fractional bits, or rescale before.",
        )
    lo, hi = math.floor(x.qtype.lo * 2.0**x.frac), math.ceil(x.qtype.hi * 2.0**x.frac)
    return [TruncatingOpening(x.shape, forms[0], op.bits, min(lo, 0), max(hi, 1))]
