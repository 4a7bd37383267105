"""Arrays in NumPy's own format."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from mpcvit.errors import InputError
from mpcvit.inputs.limits import check_values

MAGIC = b"\x93NUMPY"


def read_npy(content: bytes, name: str) -> npt.NDArray[Any]:
    """Return the array in ``content``, whose header is checked first. Nothing is unpickled.

    Raises:
        InputError: it holds objects, or too much; whatever else numpy raises for damaged files.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise InputError(f"{name}, which holds objects", expected="numbers", remedy="Save an array of numbers.")
    check_values(shape, name)
    array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array
