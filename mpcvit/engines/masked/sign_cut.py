"""What the dealer and the parties read off a masked wire to find a sign.

For x = hat - mask in the window and y = x + 2**(drop + width) >= 0, both shifted right by ``drop``: y = y^ - m (the
borrow of the dropped bits rounds y by the mask's low bits), and [x >= 0] is the top bit of y = top(y^) xor top(m) xor
[low(y^) < low(m)].
"""

from __future__ import annotations

import numpy as np

from mpcvit.fss.checks import Words
from mpcvit.ops.sign import SignWindow

_ONE = np.uint64(1)


def cut_mask(window: SignWindow, mask: Words) -> tuple[Words, Words]:
    """Return (low, top) of the dealer's mask."""
    return _cut(window, mask >> np.uint64(window.drop))


def cut_hat(window: SignWindow, hat: Words) -> tuple[Words, Words]:
    """Return (low, top) of the public masked value."""
    return _cut(window, (hat >> np.uint64(window.drop)) + (_ONE << np.uint64(window.width)))


def rounding(window: SignWindow, mask: Words) -> Words:
    """Return what the ignored bits of the mask add to x before the cut."""
    return mask & ((_ONE << np.uint64(window.drop)) - _ONE)


def _cut(window: SignWindow, shifted: Words) -> tuple[Words, Words]:
    low = shifted & ((_ONE << np.uint64(window.width)) - _ONE)
    return low, (shifted >> np.uint64(window.width)) & _ONE
