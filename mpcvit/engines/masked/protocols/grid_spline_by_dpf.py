"""A spline on a uniform grid in no round: a DPF over the whole grid, expanded as it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpcvit.engines.masked.kernel import runs
from mpcvit.engines.masked.layout import Layout
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.polynomial import powers
from mpcvit.engines.masked.protocol import Dealt, Form, Known, Prepared, Protocol, Secret, Side, dealt_mask
from mpcvit.engines.masked.unit_vector_keys import UnitVectorKeys
from mpcvit.engines.masked.wires import Guard, Step, Wire, masked, side_of_zero, tensor_of, words
from mpcvit.engines.shared import shared
from mpcvit.ops import TensorType
from mpcvit.ops.grid_spline import GridSpline
from mpcvit.ops.types import Shape

#: Seconds of one core per element and knot: per block of the tree and of the leaves, and per pair of powers, roughly.
_BLOCK_S, _TERM_S = 1.3e-9, 0.3e-9


@dataclass(frozen=True)
class GridSplineByDpf(Protocol):
    """Shares of (1, m, .., m^d) at the mask's grid index, m its bits below the grid; then a rotated inner product.

    The index bits and the bits below are cut from mask and masked value alike; what the lower bits carry moves x to the
    upper of its two neighbouring knots, with probability equal to the fraction.

    Attributes:
        shape: of x, without batch axis.
        origin, shift, coefficients: as for :class:`mpcvit.ops.grid_spline.GridSpline`.
        guarded: whether it also says if x was read off the grid that is there, and not off a copy beside it: that
            reading is knot + u, of which the unit vectors give shares, and is to equal x. Costs nothing to deal.
    """

    shape: Shape
    origin: int
    shift: int
    coefficients: tuple[tuple[int, ...], ...]
    guarded: bool = False

    def with_guard(self) -> Protocol:
        rows = self.coefficients if len(self.coefficients[0]) > 1 else tuple((*row, 0) for row in self.coefficients)
        return replace(self, coefficients=rows, guarded=True)

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    @property
    def _payload(self) -> int:
        return len(self.coefficients[0])

    @property
    def _keys(self) -> UnitVectorKeys:
        return UnitVectorKeys(self._size, len(self.coefficients).bit_length() - 1, self._payload)

    def layout(self) -> Layout:
        return self._keys.layout()

    def online_work_s(self) -> float:
        blocks, terms = 1 + self._payload / 2, self._payload * (self._payload + 1) / 2
        return self._size * len(self.coefficients) * (blocks * _BLOCK_S + terms * _TERM_S)

    def deal(self, session: bytes, drawn: Values, *inputs: Secret) -> Dealt:
        mask = dealt_mask(*inputs)
        flat = words(mask)
        below = flat & np.uint64((1 << self.shift) - 1)
        payload = powers(below, self._payload - 1)
        sent = self._keys.deal(session, drawn, flat >> np.uint64(self.shift), payload)
        return Dealt(sent=sent, rounding=tensor_of(below, tuple(mask.shape)))

    def prepare(self, side: Side, taken: Values, *inputs: Known) -> Prepared:
        return Prepared((side.session, taken))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        (x,) = masked(*inputs)
        distance = words(x.hat) - np.uint64(self.origin % 2**64)
        tables = [self.coefficients, *([self._reading] if self.guarded else [])]
        session, taken = prepared.state
        found = self._keys.read(session, party, taken, distance, np.array(tables, dtype=np.int64), self.shift)
        if self.guarded:
            own = distance if party == 0 else np.uint64(0)
            yield Guard(side_of_zero(own - words(x.mask) - found[1], party))
        return shared(tensor_of(found[0], tuple(x.hat.shape)))

    @property
    def _reading(self) -> tuple[tuple[int, ...], ...]:
        """The table that gives what x - origin was taken for: a knot and u."""
        others = (0,) * (self._payload - 2)
        return tuple((knot << self.shift, 1, *others) for knot in range(len(self.coefficients)))


@runs(GridSpline)
def grid_spline(op: GridSpline, inputs: Sequence[TensorType], forms: Sequence[Form]) -> list[Protocol]:
    """Return the only protocol."""
    (x,) = inputs
    return [GridSplineByDpf(x.shape, op.origin, op.shift, op.coefficients)]
