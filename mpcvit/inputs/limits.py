"""How much a file may unpack to: checked by its header, before anything is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mpcvit.errors import InputError

#: Values of all planes of an array or a medical file together: 512 slices of 512 x 512.
MAX_VALUES = 2**27
#: Bytes of such a file, packed or not.
MAX_BYTES = 2**30


def check_values(shape: Sequence[int], name: str) -> None:
    """Make sure that an array of ``shape``, as a header says, is neither empty nor too large.

    Raises:
        InputError: it is.
    """
    text = " x ".join(map(str, shape))
    if not shape or min(shape) < 1:
        raise InputError(f"{name}, of {text or 'no'} values", expected="an array with values", remedy="Check the file.")
    if math.prod(shape) > MAX_VALUES:
        raise InputError(
            f"{name}, of {text} values",
            expected=f"at most {MAX_VALUES:,} values",
            remedy="Make it smaller first, or cut it into parts.",
        )
