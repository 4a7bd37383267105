"""A party's material for a whole plan, wherever it lies."""

from __future__ import annotations

from abc import ABC, abstractmethod


class PlanMaterial(ABC):
    """A party's material for one attempt at one inference."""

    @property
    @abstractmethod
    def seed(self) -> bytes:
        """This party's 32-byte session seed."""

    @property
    @abstractmethod
    def session(self) -> bytes:
        """Public bytes that no other session has."""

    @abstractmethod
    def read(self, start: int, count: int) -> memoryview:
        """Return ``count`` bytes from position ``start`` of all steps' material, which lies in step order."""


class MemoryPlanMaterial(PlanMaterial):
    """Material that lies in memory as a whole.

    Args:
        sent: the bytes of all steps, in step order.

    Attributes:
        read_bytes: how many were read.
    """

    def __init__(self, seed: bytes, session: bytes, sent: bytes) -> None:
        self._seed, self._session, self._sent = seed, session, memoryview(sent)
        self.read_bytes = 0

    @property
    def seed(self) -> bytes:
        return self._seed

    @property
    def session(self) -> bytes:
        return self._session

    def read(self, start: int, count: int) -> memoryview:
        self.read_bytes += count
        return self._sent[start : start + count]
