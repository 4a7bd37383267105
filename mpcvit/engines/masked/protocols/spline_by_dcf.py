"""A spline with arbitrary knots in no round: one DCF key per element, evaluated at every knot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.layout import Layout, SharedWords
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.polynomial import combine, powers, signed_words
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, dealt_mask, tensor_mask
from mpcvit.engines.masked.protocols.guarded_sign import GuardedSign
from mpcvit.engines.masked.protocols.sign_by_dcf import SignByDcf
from mpcvit.engines.masked.wires import Guard, Step, Wire, masked, side_of_zero, tensor_of, words
from mpcvit.engines.shared import shared
from mpcvit.fss.checks import Words
from mpcvit.ops import TensorType
from mpcvit.ops.polynomial import expand
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.spline import Spline
from mpcvit.ops.types import Shape

#: Seconds of one core per element, knot and tree level, roughly.
_LEVEL_S = 40e-9
#: Points evaluated at a time, so that temporaries stay in cache.
_POINTS = 1 << 14


@dataclass(frozen=True)
class SplineByDcf(Protocol):
    """y = p_0(x) + sum_j [x >= knot_j] (p_j - p_{j-1})(x), the bits with payload (1, mu, .., mu^d).

    All knots share one key: the mask is the same, only the public point moves. The polynomials are expanded in x mod
    2**64, where nothing is lost.

    Attributes:
        shape: of x, without batch axis.
        origins, coefficients, lo, hi: as for :class:`mpcvit.ops.spline.Spline`.
    """

    shape: Shape
    origins: tuple[int, ...]
    coefficients: tuple[tuple[int, ...], ...]
    lo: int
    hi: int

    def with_guard(self) -> Protocol:
        return GuardedSpline(self)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def degree(self) -> int:
        """Degree of every segment's polynomial."""
        return len(self.coefficients[0]) - 1

    @property
    def window(self) -> SignWindow:
        """Wide enough for x - knot, for every x of the domain and every knot."""
        return SignWindow.of(max(self.hi - self.origins[0], self.hi - self.lo), 0)

    @property
    def _sign(self) -> SignByDcf:
        return SignByDcf(self.size, self.window, self.degree + 1)

    def layout(self) -> Layout:
        return self._sign.layout(), self.powers_layout()

    def online_work_s(self) -> float:
        return self.size * len(self.origins) * self.window.width * _LEVEL_S

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask, (sign,) = words(dealt_mask(*inputs)), drawn
        payload = powers(mask, self.degree)
        return Dealt(sent=(*self._sign.deal(session, sign, mask, payload), self.higher_powers(payload)))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        sign, higher = taken
        return Prepared((self._sign.prepare(side, sign), self.known_powers(side, higher, *inputs)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (x,) = masked(*inputs)
        keys, known = prepared.state
        result = self.combined(words(x.hat), known, lambda points: self._sign.evaluate(keys, points, known))
        return shared(tensor_of(result, tuple(x.hat.shape)))

    def powers_layout(self) -> SharedWords:
        """Return the item by which the parties get shares of the powers of the mask from the second on."""
        return SharedWords((self.size, max(self.degree - 1, 0)))

    def higher_powers(self, payload: Words) -> torch.Tensor:
        """Return what the dealer sends of the powers 1, mu, mu^2, .. [N, d + 1]."""
        higher = np.ascontiguousarray(payload[:, 2:])
        return tensor_of(higher, higher.shape)

    def known_powers(self, side: Side, higher: torch.Tensor, mask: Known) -> Words:
        """Return a party's shares of the powers 1, mu, mu^2, .. [N, d + 1]."""
        first = words(tensor_mask(mask))[:, None]
        ones = np.full_like(first, 1 - side.party)
        return np.concatenate([ones, first, higher.numpy().view(np.uint64)], axis=1)[:, : self.degree + 1]

    def combined(self, hat: Words, known: Words, bits: Callable[[Words], Words]) -> Words:
        """Return this party's shares of the result, from shares of [x >= knot] * (1, mu, .., mu^d).

        Args:
            hat: of x.
            known: this party's share of the payload.
            bits: the shares [points, N, d + 1], given x^ - knot of some knots, [points, N].
        """
        rows = signed_words(self._expanded())
        # sums[m, e] over the knots passed of the change of c_m, times mu**e
        sums = rows[0][None, :, None] * known[:, None, :]
        for first, points in self._points(hat):
            changes = rows[first + 1 : first + 1 + len(points)] - rows[first : first + len(points)]
            sums += np.einsum("pm,pne->nme", changes, bits(points))
        pairs = {(m, e): sums[:, m, e] for m in range(self.degree + 1) for e in range(m + 1)}
        return combine(pairs, hat, self.degree)

    def _expanded(self) -> list[list[int]]:
        return [expand(row, origin) for row, origin in zip(self.coefficients, self.origins, strict=True)]

    def _points(self, hat: Words) -> list[tuple[int, Words]]:
        """Return the groups of knots: the index of the segment left of the first, and x^ - knot for each, [knots,
        N].
        """
        knots = np.array(self.origins[1:], dtype=np.int64).view(np.uint64)
        group = max(_POINTS // max(len(hat), 1), 1)
        return [(start, hat - knots[start : start + group, None]) for start in range(0, len(knots), group)]


@dataclass(frozen=True)
class GuardedSpline(Protocol):
    """A :class:`SplineByDcf` that also says whether lo <= x <= hi: the same key, read at both ends of the domain, too.

    Attributes:
        spline: what is computed.
    """

    spline: SplineByDcf

    @property
    def _sign(self) -> GuardedSign:
        return GuardedSign(self.spline.size, self.spline.window, self.spline.degree + 1)

    def layout(self) -> Layout:
        return self._sign.layout(), self.spline.powers_layout()

    def online_work_s(self) -> float:
        return 2 * self.spline.size * (len(self.spline.origins) + 2) * self.spline.window.width * _LEVEL_S

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask, (sign,) = words(dealt_mask(*inputs)), drawn
        payload = powers(mask, self.spline.degree)
        return Dealt(sent=(*self._sign.deal(session, sign, mask, payload), self.spline.higher_powers(payload)))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        sign, higher = taken
        return Prepared((self._sign.prepare(side, sign), self.spline.known_powers(side, higher, *inputs)))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = masked(*inputs)
        keys, known = prepared.state
        hat = words(x.hat)
        # x >= lo, but not x >= hi + 1; and both differences in the window of the comparison
        ends = np.array([self.spline.lo, self.spline.hi + 1], dtype=np.int64).view(np.uint64)[:, None]
        passed, outside = self._sign.evaluate(keys, hat - ends, known)
        passed[0, :, 0] -= np.uint64(1 - party)
        wrong = np.concatenate([outside.reshape(-1), passed[..., 0].reshape(-1)])
        yield Guard(side_of_zero(wrong, party))
        result = self.spline.combined(hat, known, lambda points: self._sign.evaluate(keys, points, known)[0])
        return shared(tensor_of(result, tuple(x.hat.shape)))


@runs(Spline)
def spline(op: Spline, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only protocol."""
    (x,) = inputs
    return [SplineByDcf(x.shape, op.origins, op.coefficients, op.lo, op.hi)]
