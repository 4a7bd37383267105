"""The sign of a Masked wire, and words that are zero exactly where it is right: one DCF key, read at two points."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from mpcvit.engines.masked.dcf_keys import DcfKeys
from mpcvit.engines.masked.layout import Layout, SharedWords
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Side
from mpcvit.engines.masked.protocols.sign_by_dcf import State
from mpcvit.engines.masked.wires import Guard, side_of_zero, tensor_of, words
from mpcvit.fss.checks import Words
from mpcvit.ops.sign import SignWindow

_ONE = np.uint64(1)


@dataclass(frozen=True)
class GuardedSign:
    """Shares of [x >= 0] * payload by a key that compares all bits of the window, the top one included.

    With N = 2**(width + 1), A = x^ + 2**(drop + width) and M = mask, both without the dropped bits, Y = A - M lies in
    [0, N) if and only if x lies in the window. The key gives b(a) = [a < M mod N] * payload at public points a:

    * [x >= 0] is the top bit t of Y mod N: M mod N is one of the N / 2 numbers that follow A mod N, around the end. So
      t = b(A mod N) - b(A mod N xor N / 2) + the top bit of A mod N.
    * Y div N = A div N - M div N - b(A mod N) is 0 in the window and nowhere else. The dealer shares M div N.

    Attributes:
        size: elements.
        window: the bits that decide.
        payload: words per element, of which the first is 1.
    """

    size: int
    window: SignWindow
    payload: int

    @property
    def _bits(self) -> int:
        return self.window.width + 1

    @property
    def _keys(self) -> DcfKeys:
        return DcfKeys(self.size, self._bits, self.payload)

    def layout(self) -> Layout:
        """Return the items of the material."""
        return self._keys.layout(), SharedWords((self.size,))

    def deal(self, session: bytes, drawn: Values, mask: Words, payload: Words) -> Values:
        """Return the sent items for ``payload`` [size, words]."""
        (keys,) = drawn
        cut = mask >> np.uint64(self.window.drop)
        low = cut & ((_ONE << np.uint64(self._bits)) - _ONE)
        above = cut >> np.uint64(self._bits)
        return *self._keys.deal(session, keys, low, payload), tensor_of(above, (self.size,))

    def prepare(self, side: Side, taken: Values) -> State:
        """Return what :meth:`evaluate` needs of a party's values: its side, the keys, its share of the number above."""
        keys, above = taken
        return side, keys, words(above)

    def read(self, state: State, hat: Words, known: Words) -> Generator[Guard, None, Words]:
        """Return shares of [x >= 0] * payload and yield the guard. As for :meth:`evaluate`."""
        sign, outside = self.evaluate(state, hat, known)
        side, *_ = state
        yield Guard(side_of_zero(outside, side.party))
        return sign

    def evaluate(self, state: State, hat: Words, known: Words) -> tuple[Words, Words]:
        """Return shares of [x >= 0] * payload, and of what is zero where x lies in the window.

        Args:
            hat: of x, [size], or of several x with the same mask, [points, size].
            known: this party's share of the payload itself, [size, words].

        Returns:
            [.., size, words] and [.., size].
        """
        side, keys, above = state
        cut = (hat >> np.uint64(self.window.drop)) + (_ONE << np.uint64(self.window.width))
        low = cut & ((_ONE << np.uint64(self._bits)) - _ONE)
        points = np.stack([low, low ^ (_ONE << np.uint64(self.window.width))])
        compared = self._keys.evaluate(side, keys, points.reshape(-1, self.size))
        here, across = compared.reshape(2, *hat.shape, self.payload)
        top = low >> np.uint64(self.window.width)
        rest = (cut >> np.uint64(self._bits)) * np.uint64(1 - side.party) - above - here[..., 0]
        # times what makes the number of its bits 64, so that the word is zero where those bits are
        unit = np.uint64(self.window.drop + self._bits)
        return here - across + top[..., None] * known, rest << unit
