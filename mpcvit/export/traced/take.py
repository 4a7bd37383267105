"""Some positions of an axis, in another order: local slices, as many as there are runs of consecutive positions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mpcvit.export.builder import Builder, Value


def take(b: Builder, name: str, x: Value, axis: int, places: Sequence[int]) -> Value:
    """Return the elements of x at ``places`` along ``axis`` (negative); x itself for all of them in order."""
    if list(places) == list(range(x.type.shape[axis])):
        return x
    # within a run of consecutive positions, position and rank differ by the same number
    runs = [list(run) for _, run in groupby(enumerate(places), lambda item: item[1] - item[0])]
    if len(runs) == 1:
        return b.slice(name, x, axis, runs[0][0][1], runs[0][-1][1] + 1)
    parts = [b.slice(f"{name}.run{number}", x, axis, run[0][1], run[-1][1] + 1) for number, run in enumerate(runs)]
    return b.concat(name, parts, axis)
