"""Which bits of a masked wire decide a sign, and what each side reads off them (DESIGN 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpcvit.session.wires import Words

_ONE = np.uint64(1)


@dataclass(frozen=True)
class SignWindow:
    """The sign of x = hat - mask from bits [drop, drop + width] of hat and mask.

    For -2**(drop + width) <= x <= 2**(drop + width) - 2**drop: the ignored bits may round x up by 2**drop - 1.
    With y = x + 2**(drop + width) >= 0, both shifted right by ``drop``: y = y^ - m (the borrow of the dropped bits
    rounds y by the mask's low bits), and [x >= 0] is the top bit of y = top(y^) xor top(m) xor [low(y^) < low(m)].

    Attributes:
        drop: bits ignored.
        width: bits of ``low``, at least 1; the top bit comes on top.
    """

    drop: int
    width: int

    @classmethod
    def of(cls, code_bound: int, drop: int) -> SignWindow:
        """The narrowest window for codes of at most this magnitude, also once the ignored bits round them up."""
        return cls(drop, max((code_bound + (1 << drop) - 1).bit_length() - drop, 1))

    def of_mask(self, mask: Words) -> tuple[Words, Words]:
        """(low, top) of the dealer's mask."""
        return self._cut(mask >> np.uint64(self.drop))

    def of_hat(self, hat: Words) -> tuple[Words, Words]:
        """(low, top) of the public masked value."""
        return self._cut((hat >> np.uint64(self.drop)) + (_ONE << np.uint64(self.width)))

    def rounding(self, mask: Words) -> Words:
        """What the ignored bits of the mask add to x before the cut."""
        return mask & ((_ONE << np.uint64(self.drop)) - _ONE)

    def _cut(self, shifted: Words) -> tuple[Words, Words]:
        low = shifted & ((_ONE << np.uint64(self.width)) - _ONE)
        return low, (shifted >> np.uint64(self.width)) & _ONE
