"""Keys of distributed comparison functions as material: a secret per element, and what a smaller point gives."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.engines.masked.layout import CommonWords, Layout, Seeds
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Side
from mpcvit.fss import dcf
from mpcvit.fss.checks import Words
from mpcvit.fss.tree_hash import TreeHash


@dataclass(frozen=True)
class DcfKeys:
    """Keys of :mod:`mpcvit.fss.dcf`.

    Attributes:
        count: elements.
        bits: of the secrets and of the points.
        payload: words that a comparison gives.
    """

    count: int
    bits: int
    payload: int

    def layout(self) -> Layout:
        """Return the items of the keys' material."""
        return (
            Seeds(self.count),
            CommonWords((self.bits - 1, self.count, 2)),
            CommonWords((self.bits, self.count, self.payload)),
        )

    def deal(self, session: bytes, drawn: Values, secret: Words, payload: Words) -> Values:
        """Return the sent items of keys for ``secret`` [count] and ``payload`` [count, payload]."""
        (roots,) = drawn
        return dcf.deal(TreeHash.for_session(session), secret, self.bits, payload, roots)

    def evaluate(self, side: Side, taken: Values, points: Words) -> Words:
        """Return a party's shares of payload * [point < secret] at public points [.., count]: [.., count, payload]."""
        root, key, values = taken
        return dcf.evaluate(TreeHash.for_session(side.session), side.party, root, key, values, points, self.bits)
