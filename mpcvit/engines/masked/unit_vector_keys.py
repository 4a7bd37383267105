"""Keys of unit vectors as material: a secret position per element, and what stands there.

Vectors are expanded when they are read: that costs less than to keep them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpcvit.engines.masked.layout import CommonWords, Layout, Seeds
from mpcvit.engines.masked.material import Values
from mpcvit.fss import lookup, unit_vector
from mpcvit.fss.checks import Words
from mpcvit.fss.tree_hash import TreeHash


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

    def expand(self, session: bytes, party: int, taken: Values) -> Words:
        """Return a party's shares of all vectors, [count, payload, 2**bits]."""
        root, key, leaf = taken
        return unit_vector.expand(TreeHash.for_session(session), party, root, key, leaf, self.bits)

    def read(
        self, session: bytes, party: int, taken: Values, points: Words, tables: npt.NDArray[np.int64], shift: int
    ) -> Words:
        """Return a party's shares of the splines ``tables`` at masked points; see :func:`mpcvit.fss.lookup.read`."""
        root, key, leaf = taken
        return lookup.read(TreeHash.for_session(session), party, root, key, leaf, points, tables, shift)
