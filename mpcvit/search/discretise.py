"""From relaxed switches to binary choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch


def kept_count(total: int, mu: float) -> int:
    """Return how many of ``total`` switches stay on: all but the floor((1 - mu) * total) smallest (MPCViT's index
    formula).
    """
    # the slack repairs products such as (1 - 0.7) * 30, which float64 puts a hair below 9
    return total - math.floor((1 - mu) * total + 1e-9)


def keep_largest(values: Sequence[torch.Tensor], count: int) -> list[list[bool]]:
    """Return per tensor, which of its elements are among the ``count`` largest magnitudes of all tensors together.

    Ties go to earlier elements, so that the number kept is exact.
    """
    flat = torch.cat([value.detach().abs().flatten() for value in values])
    order = torch.argsort(flat, descending=True, stable=True)
    kept = torch.zeros(len(flat), dtype=torch.bool)
    kept[order[:count]] = True
    parts: list[list[bool]] = [part.tolist() for part in kept.split([value.numel() for value in values])]
    return parts


def keep_top(values: Sequence[torch.Tensor], mu: float) -> list[list[bool]]:
    """Return per tensor, which of its elements are among the top share ``mu`` of all (global, not per layer)."""
    return keep_largest(values, kept_count(sum(value.numel() for value in values), mu))


def largest_within(total: int, budget: float, seconds: Callable[[int], float]) -> int:
    """Return the largest number of switches whose price is at most ``budget``; 0 if none is.

    Args:
        seconds: the price by number of switches kept; grows with it.
    """
    low, high = 0, total
    while low < high:
        middle = (low + high + 1) // 2
        if seconds(middle) <= budget:
            low = middle
        else:
            high = middle - 1
    return low
