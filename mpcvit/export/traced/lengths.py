"""Bounds on the lengths of vectors of channels, on their way through other shapes.

A :class:`mpcvit.export.builder.Value` knows such a bound for its last axis. Between a convolution and the tokens that
it gives, channels are another axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from mpcvit.export.builder import Value


class Lengths:
    """Bounds for axes that are not the last, by the name of the value."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float]] = {}

    def of(self, x: Value) -> tuple[int, float] | None:
        """Return the axis of x, counted from the front, along which vectors are bounded, and by what."""
        return self._known.get(x.name) if x.radius is None else (len(x.type.shape) - 1, x.radius)

    def noted(self, x: Value, axis: int | None, radius: float | None) -> Value:
        """Return x, its vectors along ``axis`` known to be no longer than ``radius``."""
        if axis is None or radius is None:
            return x
        if axis == len(x.type.shape) - 1:
            return replace(x, radius=radius)
        self._known[x.name] = axis, radius
        return x

    def rounded(self, x: Value, result: Value) -> Value:
        """Return ``result``, which is x with every element rounded once, with what is known of x."""
        if (known := self.of(x)) is None:
            return result
        axis, radius = known
        return self.noted(result, axis, radius + math.sqrt(x.type.shape[axis]) * result.type.qtype.step)

    def reshaped(self, x: Value, result: Value) -> Value:
        """Return ``result``, which is x in another shape, with what is known of x."""
        if (known := self.of(x)) is None:
            return result
        return self.noted(result, axis_in_view(x.type.shape, result.type.shape, known[0]), known[1])

    def permuted(self, x: Value, result: Value, order: Sequence[int]) -> Value:
        """Return ``result``, which is x with its axes in another order, with what is known of x."""
        return result if (known := self.of(x)) is None else self.noted(result, list(order).index(known[0]), known[1])


def axis_in_view(before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
    """Return the axis of the shape ``after`` whose elements are those of ``axis`` of ``before``; None if none is."""
    ahead = math.prod(before[:axis])
    for place, size in enumerate(after):
        if size == before[axis] and math.prod(after[:place]) == ahead:
            return place
    return None
