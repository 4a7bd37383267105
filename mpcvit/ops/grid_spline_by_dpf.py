"""A spline on a uniform grid in no round: a DPF expanded over the whole grid before the inference (DESIGN 4.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpcvit.fss import lookup, unit_vector
from mpcvit.fss.tree_hash import TreeHash
from mpcvit.ops.polynomial import powers
from mpcvit.ops.protocol import Known, Prepared, Protocol, Secret
from mpcvit.ops.types import Shape
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.wires import Step, Wire, Words, shared, tensor_of, words

#: Seconds of one core per element, knot and pair of powers, roughly.
_TERM_S = 0.8e-9
#: Elements that are expanded and read at a time where that happens late: their vectors stay in cache.
_PIECE = 512


@dataclass(frozen=True)
class GridSplineByDpf(Protocol):
    """Shares of (1, m, .., m^d) at the mask's grid index, m its bits below the grid; then a rotated inner product.

    The index bits and the bits below are cut from mask and masked value alike; what the lower bits carry moves x to the
    upper of its two neighbouring knots, with probability equal to the fraction.

    Attributes:
        shape: of x, without batch axis.
        origin, shift, coefficients: as for :class:`mpcvit.ops.grid_spline.GridSpline`.
    """

    shape: Shape
    origin: int
    shift: int
    coefficients: tuple[tuple[int, ...], ...]

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    @property
    def _bits(self) -> int:
        return len(self.coefficients).bit_length() - 1

    @property
    def _payload(self) -> int:
        return len(self.coefficients[0])

    def openings(self) -> tuple[int, ...]:
        return ()

    def material(self) -> tuple[int, int]:
        key = unit_vector.key_bytes(self._bits, self._payload) * self._size
        return key, key

    def expanded_bytes(self) -> int:
        return 8 * self._size * self._payload * len(self.coefficients)

    def online_work_s(self) -> float:
        return self._size * len(self.coefficients) * self._payload * (self._payload + 1) / 2 * _TERM_S

    def deal(self, dealing: NodeDealing, *inputs: Secret) -> Secret:
        (mask,) = inputs
        assert mask is not None  # noqa: S101 - Masked by plan
        flat = words(mask)
        below = flat & np.uint64((1 << self.shift) - 1)
        index = (flat >> np.uint64(self.shift)) & np.uint64(len(self.coefficients) - 1)
        payload = powers(below, self._payload - 1)
        tree_hash = TreeHash.for_session(dealing.session)
        key, leaf = unit_vector.deal(tree_hash, index, self._bits, payload, dealing.seeds(self._size))
        dealing.publish(key)
        dealing.publish(leaf)
        dealing.rounding = tensor_of(below, tuple(mask.shape))
        return None

    def prepare(self, material: NodeMaterial, *inputs: Known) -> Prepared:
        root = material.seeds(self._size)
        key = material.publish((self._bits - 1, self._size, 2))
        leaf = material.publish((self._size, self._payload, 2))
        tree_hash = TreeHash.for_session(material.session)
        if material.late:
            return Prepared((tree_hash, root, key, leaf))
        return Prepared(unit_vector.expand(tree_hash, material.party, root, key, leaf, self._bits))

    def run(self, party: int, prepared: Prepared, *inputs: Wire) -> Step:
        yield from ()
        (x,) = inputs
        distance = words(x.hat) - np.uint64(self.origin % 2**64)
        table = np.array(self.coefficients, dtype=np.int64)
        if isinstance(prepared.state, tuple):
            result = self._in_pieces(party, prepared.state, distance, table)
        else:
            result = lookup.rotated_spline(prepared.state, distance, table, self.shift)
        return shared(tensor_of(result, tuple(x.hat.shape)))

    def _in_pieces(
        self, party: int, state: tuple[TreeHash, Words, Words, Words], distance: Words, table: npt.NDArray[np.int64]
    ) -> Words:
        """Expands and reads a few elements at a time, so that what is expanded stays in cache."""
        tree_hash, root, key, leaf = state
        result = np.empty_like(distance)
        for start in range(0, self._size, _PIECE):
            part = slice(start, start + _PIECE)
            expanded = unit_vector.expand(tree_hash, party, root[part], key[:, part], leaf[part], self._bits)
            result[part] = lookup.rotated_spline(expanded, distance[part], table, self.shift)
        return result
