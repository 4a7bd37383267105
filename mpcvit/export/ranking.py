"""From logits to the likeliest labels: all pairs of a group compared at once, groups merged like a tournament."""

from __future__ import annotations

from functools import lru_cache

import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.ops.grouping import Grouping

#: Comparisons that a level of the tournament is worth: 2 rounds over a WAN are 40 ms, a comparison takes about 2 us
#: with its material; over a LAN a level is worth a tenth of that. So up to 90 labels are compared in one level.
LEVEL_COMPARISONS = 4000
#: The tournament never has larger groups than this, unless every candidate is kept.
_LARGEST_GROUP = 64


def top_labels(b: Builder, name: str, scores: Value, top: int) -> Value:
    """Return the positions of the ``top`` largest of ``scores`` [C], largest first, equal ones in order.

    And their number.

    Integers [top + 1]. The number is ``top``, unless the scores were no numbers of their declared range.
    """
    values, labels = scores, None
    for level, groups in enumerate(tournament(scores.type.size, top)):
        node = f"{name}.level{level}"
        ahead = b.nonnegative(f"{node}.ahead", b.pair_differences(f"{node}.differences", values, groups))
        ranks = b.ranks(f"{node}.ranks", ahead, values.type.size, groups)
        if groups == 1:
            return b.pick(name, ranks, labels, groups, top, counted=True)
        labels = b.pick(f"{node}.labels", ranks, labels, groups, top)
        values = b.pick(f"{node}.values", ranks, values, groups, top)
    raise AssertionError("a tournament ends with one group")


def top_labels_in_clear(scores: torch.Tensor, top: int) -> torch.Tensor:
    """Return what :func:`top_labels` computes, on [batch, C]."""
    return torch.argsort(scores, dim=-1, descending=True, stable=True)[:, :top]


def tournament(count: int, top: int) -> tuple[int, ...]:
    """Return the number of groups of every level, 1 in the last, with the least comparisons and levels.

    Groups keep their first ``top``, in order, so that candidates of equal value stay in order, too.
    """
    return _tournament(count, top)[1]


@lru_cache(maxsize=4096)
def _tournament(count: int, top: int) -> tuple[int, tuple[int, ...]]:
    """Return (price in comparisons, groups of every level)."""
    best: tuple[int, tuple[int, ...]] = Grouping(count, 1).pair_count + LEVEL_COMPARISONS, (1,)
    for size in range(top + 1, max(_LARGEST_GROUP, 2 * top) + 1):
        grouping = Grouping(count, max(min(-(-count // size), count // 2), 1))
        if grouping.groups == 1 or grouping.kept(top) >= count:
            continue
        price, levels = _tournament(grouping.kept(top), top)
        price += grouping.pair_count + LEVEL_COMPARISONS
        if price < best[0]:
            best = price, (grouping.groups, *levels)
    return best
