"""What the keys accept: widths and shapes, checked once per batch before any kernel runs.

Checked arrays are read-only views. That keeps arguments as they are, and it makes one type of what kernels read: arrays
on bytes from the wire are read-only anyway, and numba compiles a kernel anew for each mixture of the two.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mpcvit.errors import InputError, ShapeMismatch

Words = npt.NDArray[np.uint64]  # ring words, or 128-bit blocks as [..., 2], low word first
Bytes = npt.NDArray[np.uint8]  # bits 0 or 1, or packed bits

Scalar = TypeVar("Scalar", bound=np.generic)
MAX_PAYLOAD = 64  # ring words per element


def check_width(name: str, width: int, low: int, high: int) -> None:
    """Accept ``low <= width <= high``.

    Raises:
        InputError: the width is outside.
    """
    if not low <= width <= high:
        raise InputError(f"{name}={width}", expected=f"{low} to {high}", remedy="Choose another width at export.")


def check_party(party: int) -> None:
    """Accept 0 and 1.

    Raises:
        InputError: any other number.
    """
    if party not in (0, 1):
        raise InputError(f"party {party}", expected="0 or 1", remedy="These keys are for two parties.")


def words(name: str, array: npt.NDArray[np.generic], shape: tuple[int, ...]) -> Words:
    """Return the array, C-contiguous and read-only, if it is uint64 of exactly this shape.

    Raises:
        ShapeMismatch: another dtype or shape.
    """
    _check_array(name, array, np.dtype(np.uint64), shape)
    return _frozen(np.require(array, dtype=np.uint64, requirements=["C", "A"]))


def octets(name: str, array: npt.NDArray[np.generic], shape: tuple[int, ...]) -> Bytes:
    """Return the array, C-contiguous and read-only, if it is uint8 of exactly this shape.

    Raises:
        ShapeMismatch: another dtype or shape.
    """
    _check_array(name, array, np.dtype(np.uint8), shape)
    return _frozen(np.require(array, dtype=np.uint8, requirements=["C", "A"]))


def payload_width(array: npt.NDArray[np.generic], axis: int) -> int:
    """Return the payload words per element, read from an array's axis: 1 to 64.

    Raises:
        InputError: the axis is missing, empty or longer.
    """
    width = array.shape[axis] if array.ndim > axis else 0
    check_width("payload words", width, 1, MAX_PAYLOAD)
    return width


def secrets(name: str, array: npt.NDArray[np.generic], bits: int) -> Words:
    """Return the array, C-contiguous and read-only, if it is uint64[N] with all elements below 2**bits.

    Raises:
        ShapeMismatch: another dtype, or not one axis.
        InputError: an element is 2**bits or more. The message does not say which.
    """
    array_N = words(name, array, (array.size,))
    _check_below(name, array_N, bits)
    return array_N


def points(array: npt.NDArray[np.generic], count: int, bits: int) -> Words:
    """Return public points as uint64[P, count], C-contiguous, from uint64[count] (then P = 1) or uint64[P, count].

    Raises:
        ShapeMismatch: another dtype or shape.
        InputError: an element is 2**bits or more.
    """
    leading = array.shape[:1] if array.ndim == 2 else ()
    array_PN = words("x", array, (*leading, count)).reshape(*(leading or (1,)), count)
    _check_below("x", array_PN, bits)
    return array_PN


def roots(pair: tuple[Words, Words], count: int) -> tuple[Words, Words]:
    """Return both parties' root seeds, each checked to be uint64[count, 2].

    Raises:
        ShapeMismatch: another dtype or shape.
    """
    return words("roots[0]", pair[0], (count, 2)), words("roots[1]", pair[1], (count, 2))


def _frozen(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    view = array.view()
    view.flags.writeable = False
    return view


def _check_array(
    name: str, array: npt.NDArray[np.generic], dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ShapeMismatch(
            f"{name} as {array.dtype}{list(array.shape)}",
            expected=f"{dtype}{list(shape)}",
            remedy="Deal and evaluate with the same count, width and payload.",
        )


def _check_below(name: str, array: Words, bits: int) -> None:
    if int(np.bitwise_or.reduce(array, axis=None)) >> bits:
        raise InputError(
            f"a value of {name} beyond {bits} bits",
            expected=f"values below 2**{bits}",
            remedy=f"Mask {name} to the width of the key.",
        )
