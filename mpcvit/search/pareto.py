"""The Pareto set: what no other candidate beats in both accuracy and seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def pareto_set(
    items: Sequence[Item], accuracy: Callable[[Item], float], seconds: Callable[[Item], float]
) -> list[Item]:
    """Return the items that no other one dominates, cheapest first; of equal ones the first.

    One item dominates another if it is at least as accurate and at most as expensive, and better in one of the two.
    """
    front: list[Item] = []
    for item in sorted(items, key=lambda item: (seconds(item), -accuracy(item))):
        if not front or accuracy(item) > accuracy(front[-1]):
            front.append(item)
    return front
