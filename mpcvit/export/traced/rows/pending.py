"""The base of values that are not computed yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from mpcvit.export.builder import Builder, Value

#: Moves elements of a value: given a name and a value, gives another one.
Movement = Callable[[str, Value], Value]


class Pending(ABC):
    """A value that is known in parts, of which some ops can make more than of the whole."""

    name: str
    _whole: Value | None = None

    def value(self, b: Builder) -> Value:
        """Return the whole, computed once."""
        if self._whole is None:
            self._whole = self.computed(b)
        return self._whole

    @abstractmethod
    def computed(self, b: Builder) -> Value:
        """Return the whole."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of the whole, without batch axis."""


class PendingRows(Pending):
    """A pending value whose rows (last axis) can be moved as they are."""

    @abstractmethod
    def moved(self, name: str, move: Movement) -> PendingRows:
        """Return the same with rows moved; ``move`` is applied to every part, whose last axis may have length 1."""
