"""From logits of every place of a grid to the likeliest label of each: all places at once, each a small tournament."""

from __future__ import annotations

import torch

from mpcvit.errors import ProgramError
from mpcvit.export.builder import Builder, Value
from mpcvit.export.ranking import LEVEL_COMPARISONS


def place_labels(b: Builder, name: str, logits: Value) -> Value:
    """Return the positions of the largest of ``logits`` [labels, rows, columns] at every place, and their number.

    Integers [rows * columns + 1]. Positions count through all labels of the first place, then through those of the
    next, row by row: place n and label l are n * labels + l. Of equal logits the first label's. The number is that of
    the places, unless the logits were no numbers of their declared range.

    Raises:
        ProgramError: labels differ from those of real arithmetic (a bug).
    """
    labels, rows, columns = logits.type.shape
    places = rows * columns
    by_place = b.permute(f"{name}.by_place", logits, 1, 2, 0)
    values, found = b.reshape(f"{name}.candidates", by_place, places * labels), None
    levels = tournament(places, labels)
    for level, groups in enumerate(levels):
        node, last = f"{name}.level{level}", level == len(levels) - 1
        ahead = b.nonnegative(f"{node}.ahead", b.pair_differences(f"{node}.differences", values, groups))
        ranks = b.ranks(f"{node}.ranks", ahead, values.type.size, groups)
        found = b.pick(name if last else f"{node}.labels", ranks, found, groups, 1, counted=last)
        if not last:
            values = b.pick(f"{node}.values", ranks, values, groups, 1)
    assert found is not None  # noqa: S101 - there is at least one level
    expected = by_place.real.argmax(-1).flatten(1) + labels * torch.arange(places)
    if not torch.equal(found.real[:, :-1].long(), expected):
        raise ProgramError(
            "a map that differs between model and Program in real arithmetic",
            expected="the positions of the largest logits",
            remedy="This is a bug in the export; please report it with the model's configuration.",
        )
    return found


def tournament(places: int, labels: int) -> tuple[int, ...]:
    """Return the number of groups of every level over all places, as many as places in the last.

    A level splits the labels of every place into equally large groups and keeps the first of each.
    """
    return tuple(places * groups for groups in _levels(places, labels)[1])


def _levels(places: int, labels: int) -> tuple[int, tuple[int, ...]]:
    """Return (price in comparisons, groups per place of every level)."""
    best: tuple[int, tuple[int, ...]] = places * labels * (labels - 1) // 2 + LEVEL_COMPARISONS, (1,)
    for groups in range(2, labels // 2 + 1):
        if labels % groups:
            continue
        price, levels = _levels(places, groups)
        price += places * labels * (labels // groups - 1) // 2 + LEVEL_COMPARISONS
        if price < best[0]:
            best = price, (groups, *levels)
    return best
