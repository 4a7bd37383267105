"""A queue that serves its clients in turns: one that brings much waits behind itself, not before others."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Weighted round robin over clients; within one client, first come, first served. Not thread-safe.

    Args:
        weight: items of a client that are served in one of its turns, at least 1.
    """

    def __init__(self, weight: Callable[[str], int]) -> None:
        self._weight = weight
        self._clients: OrderedDict[str, deque[Item]] = OrderedDict()
        self._served = 0

    def __len__(self) -> int:
        return sum(map(len, self._clients.values()))

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self._clients.values())

    def push(self, client: str, item: Item) -> None:
        """Let ``item`` wait behind the client's others."""
        self._clients.setdefault(client, deque()).append(item)

    def first(self) -> Item | None:
        """Return whose turn it is, without taking it; None if nothing waits."""
        return next(iter(self._clients.values()))[0] if self._clients else None

    def pop(self) -> Item:
        """Take whose turn it is.

        Raises:
            IndexError: nothing waits.
        """
        if not self._clients:
            raise IndexError("an empty queue")
        client, items = next(iter(self._clients.items()))
        item = items.popleft()
        self._served += 1
        if not items:
            self._drop(client)
        elif self._served >= self._weight(client):
            self._clients.move_to_end(client)
            self._served = 0
        return item

    def remove(self, client: str, item: Item) -> None:
        """Take ``item`` out, if it waits; another client's turn is not shortened."""
        items = self._clients.get(client)
        if items is None or item not in items:
            return
        items.remove(item)
        if not items:
            self._drop(client)

    def _drop(self, client: str) -> None:
        if client == next(iter(self._clients)):
            self._served = 0
        del self._clients[client]
