"""A spline with arbitrary knots in no round: one DCF key per element, evaluated at every knot (DESIGN 4.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mpcvit.fss import dcf
from mpcvit.ops.polynomial import combine, expand, powers, signed_words
from mpcvit.ops.protocol import Known, Prepared, Protocol, Secret, tensor_mask
from mpcvit.ops.relu_protocols import deal_sign, evaluate_sign, take_sign
from mpcvit.ops.sign import SignWindow
from mpcvit.ops.types import Shape
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Step, Wire, Words, shared, tensor_of, words

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

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    @property
    def _degree(self) -> int:
        return len(self.coefficients[0]) - 1

    @property
    def _window(self) -> SignWindow:
        """Wide enough for x - knot, for every x of the domain and every knot."""
        return SignWindow.of(max(self.hi - self.origins[0], self.hi - self.lo), 0)

    def openings(self) -> tuple[int, ...]:
        return ()

    def material(self) -> tuple[int, int]:
        key = dcf.key_bytes(self._window.width, self._degree + 1) * self._size
        shares = self._degree + 1 + max(self._degree - 1, 0)
        return key, key + 8 * shares * self._size

    def online_work_s(self) -> float:
        return self._size * len(self.origins) * self._window.width * _LEVEL_S

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (mask,) = inputs
        assert mask is not None  # noqa: S101 - Masked by plan
        payload = powers(words(mask), self._degree)
        low, top = self._window.of_mask(words(mask))
        deal_sign(dealing, low, top, payload, self._window.width)
        higher = np.ascontiguousarray(payload[:, 2:])
        dealing.share(tensor_of(higher.reshape(-1), higher.shape))
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        (mask,) = inputs
        keys = take_sign(material, self._size, self._window.width, self._degree + 1)
        higher = words(material.share((self._size, max(self._degree - 1, 0)))).reshape(self._size, -1)
        share = words(tensor_mask(mask))[:, None]
        ones = np.full_like(share, 1 if material.party == 0 else 0)
        return Prepared((keys, np.concatenate([ones, share, higher], axis=1)[:, : self._degree + 1]))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (x,) = inputs
        keys, known = prepared.state
        hat = words(x.hat)
        rows = signed_words(self._expanded())
        # sums[m, e] over the knots passed of the change of c_m, times mu**e
        sums = rows[0][None, :, None] * known[:, None, :]
        for first, points in self._points(hat):
            low, top = self._window.of_hat(points)
            bits = evaluate_sign(party, keys, low, top, known, self._window.width)
            changes = rows[first + 1 : first + 1 + len(points)] - rows[first : first + len(points)]
            sums += np.einsum("pm,pne->nme", changes, bits)
        pairs = {(m, e): sums[:, m, e] for m in range(self._degree + 1) for e in range(m + 1)}
        return shared(tensor_of(combine(pairs, hat, self._degree), tuple(x.hat.shape)))

    def _expanded(self) -> list[list[int]]:
        return [expand(row, origin) for row, origin in zip(self.coefficients, self.origins, strict=True)]

    def _points(self, hat: Words) -> list[tuple[int, Words]]:
        """Groups of knots: the index of the segment left of the first, and x^ - knot for each, [knots, N]."""
        knots = np.array(self.origins[1:], dtype=np.int64).view(np.uint64)
        group = max(_POINTS // max(len(hat), 1), 1)
        return [(start, hat - knots[start : start + group, None]) for start in range(0, len(knots), group)]
