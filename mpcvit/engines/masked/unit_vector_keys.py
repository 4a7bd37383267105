"""Keys of unit vectors as material: a secret position per element, and what stands there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mpcvit.engines.masked.layout import CommonWords, Layout, Seeds
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Side
from mpcvit.fss import unit_vector
from mpcvit.fss.checks import Words
from mpcvit.fss.tree_hash import TreeHash

#: Elements that are expanded at a time where that happens late: their vectors stay in cache.
_PIECE = 512


@dataclass(frozen=True)
class UnitVectorKeys:
    """Keys of :mod:`mpcvit.fss.unit_vector`.

    Attributes:
        count: elements.
        bits: log2 of the length of a vector.
        payload: words at the secret position.
    """

    count: int
    bits: int
    payload: int

    @property
    def expanded_bytes(self) -> int:
        """Memory of all vectors of a party."""
        return 8 * self.count * self.payload << self.bits

    def layout(self) -> Layout:
        """Return the items of the keys' material."""
        return (
            Seeds(self.count),
            CommonWords((self.bits - 1, self.count, 2)),
            CommonWords((self.count, self.payload, 2)),
        )

    def deal(self, session: bytes, drawn: Values, mask: Words, payload: Words) -> Values:
        """Return the sent items of keys for the position in the low bits of ``mask`` [count].

        ``payload`` [count, payload].
        """
        (roots,) = drawn
        position = mask & np.uint64((1 << self.bits) - 1)
        return unit_vector.deal(TreeHash.for_session(session), position, self.bits, payload, roots)

    def expand(self, side: Side, taken: Values, part: slice = slice(None)) -> Words:
        """Return a party's shares of the vectors of some elements, [elements, payload, 2**bits]."""
        root, key, leaf = taken
        tree_hash = TreeHash.for_session(side.session)
        return unit_vector.expand(tree_hash, side.party, root[part], key[:, part], leaf[part], self.bits)

    def vectors(self, side: Side, taken: Values, late: bool) -> Iterable[tuple[slice, Words]]:
        """Return the groups of elements and their vectors, to be read once: all at once, expanded now.

        Args:
            late: expand a few elements at a time instead, when they are read.
        """
        return self._pieces(side, taken) if late else [(slice(None), self.expand(side, taken))]

    def _pieces(self, side: Side, taken: Values) -> Iterator[tuple[slice, Words]]:
        for start in range(0, self.count, _PIECE):
            part = slice(start, start + _PIECE)
            yield part, self.expand(side, taken, part)
