"""The sign of a Masked wire times a payload, in no round: a comparison function of the mask's low bits."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from mpcvit.engines.masked.dcf_keys import DcfKeys
from mpcvit.engines.masked.layout import Layout, SharedWords
from mpcvit.engines.masked.material import Values
from mpcvit.engines.masked.protocol import Side
from mpcvit.engines.masked.sign_cut import cut_hat, cut_mask
from mpcvit.engines.masked.wires import Guard, tensor_of, words
from mpcvit.fss.checks import Words
from mpcvit.ops.sign import SignWindow

#: A party's side, its values of the keys, and its shares [size, payload] of the mask's top bit times the payload.
State = tuple[Side, Values, Words]


@dataclass(frozen=True)
class SignByDcf:
    """Shares of [x >= 0] * payload (Boyle et al., Eurocrypt 2021, section 3).

    With m = top(mask) and l = [low(y^) < low(mask)]: m xor l = m + (1 - 2m) l, so the keys carry (1 - 2m) payload and
    m payload is shared beside them; the public top(y^) only decides between that and its complement.

    Attributes:
        size: elements.
        window: the bits that decide.
        payload: words per element.
    """

    size: int
    window: SignWindow
    payload: int

    @property
    def _keys(self) -> DcfKeys:
        return DcfKeys(self.size, self.window.width, self.payload)

    def layout(self) -> Layout:
        """Return the items of the material."""
        return self._keys.layout(), SharedWords((self.size, self.payload))

    def deal(self, session: bytes, drawn: Values, mask: Words, payload: Words) -> Values:
        """Return the sent items for ``payload`` [size, words]."""
        (keys,) = drawn
        low, top = cut_mask(self.window, mask)
        factor = np.uint64(1) - np.uint64(2) * top
        flipped = top[:, None] * payload
        return *self._keys.deal(session, keys, low, factor[:, None] * payload), tensor_of(flipped, payload.shape)

    def prepare(self, side: Side, taken: Values) -> State:
        """Return what :meth:`evaluate` needs of a party's values."""
        keys, top = taken
        return side, keys, words(top).reshape(self.size, self.payload)

    def read(self, state: State, hat: Words, known: Words) -> Generator[Guard, None, Words]:
        """Run :meth:`evaluate` as a part of a step."""
        yield from ()
        return self.evaluate(state, hat, known)

    def evaluate(self, state: State, hat: Words, known: Words) -> Words:
        """Return shares of [x >= 0] * payload, [.., size, words].

        Args:
            hat: of x, [size], or of several x with the same mask, [points, size].
            known: this party's share of the payload itself, [size, words].
        """
        side, keys, top_share = state
        low, top = cut_hat(self.window, hat)
        flipped = top_share + self._keys.evaluate(side, keys, low)
        return np.where(top[..., None] == 1, known - flipped, flipped)
