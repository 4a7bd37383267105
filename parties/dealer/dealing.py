"""Dealing one lease's material, for each engine, as streams of bytes that the parties read side by side."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import torch

from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.crypten.dealer import corrections
from mpcvit.engines.masked.dealer import DealtStep, deal_plan
from mpcvit.engines.masked.plan import Plan
from mpcvit.errors import DealerLost, DealerTimeout
from mpcvit.program.program import Program
from mpcvit.ring.prg import SEED_BYTES


class Dealing(ABC):
    """The material of one lease."""

    @abstractmethod
    def material_bytes(self, party: int) -> int:
        """Return the length of a party's material, its seed apart."""

    @abstractmethod
    def stream(self, party: int) -> Iterator[bytes | memoryview]:
        """Return a party's material in the order of use, dealt as it is read.

        Raises:
            DealerLost: the dealing was closed.
            DealerTimeout: the other party does not read its part.
        """

    @abstractmethod
    def close(self) -> None:
        """Deal no more, and drop what was dealt and the seeds."""


class StockDealing(Dealing):
    """Corrections of CrypTen's correlations, all for the last party."""

    def __init__(self, program: Program, seeds: Sequence[bytes | bytearray]) -> None:
        self._last = len(seeds) - 1
        total = stock_cost(program, len(seeds)).total
        self._lengths = [length - SEED_BYTES for length in total.material_bytes]
        self._lock = threading.Lock()
        self._corrections: Iterator[memoryview] | None = corrections(program, seeds)

    def material_bytes(self, party: int) -> int:
        return self._lengths[party]

    def stream(self, party: int) -> Iterator[bytes | memoryview]:
        while party == self._last and (piece := self._next()) is not None:
            yield piece

    def close(self) -> None:
        with self._lock:
            self._corrections = None

    def _next(self) -> memoryview | None:
        with self._lock:
            if self._corrections is None:
                raise _ended()
            return next(self._corrections, None)


class FastDealing(Dealing):
    """A plan's material. Both parties read the same dealing: whoever is ahead deals the next step.

    Args:
        patience_s: how long the party that is ahead waits for the other.
        backlog_bytes: how much is dealt ahead of the slower party, a step more or less.
    """

    def __init__(
        self,
        plan: Plan,
        session: bytes,
        seeds: Sequence[bytes | bytearray],
        weights: Mapping[str, torch.Tensor],
        patience_s: float,
        backlog_bytes: int,
    ) -> None:
        self._lengths = plan.material
        self._steps: Iterator[DealtStep] | None = deal_plan(plan, session, seeds, weights)
        self._patience_s = patience_s
        self._backlog_bytes = backlog_bytes
        self._changed = threading.Condition()
        self._backlog: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self._waiting = [0, 0]
        self._dealt = False

    def material_bytes(self, party: int) -> int:
        return self._lengths[party]

    def stream(self, party: int) -> Iterator[bytes | memoryview]:
        while (piece := self._next(party)) is not None:
            yield piece

    def close(self) -> None:
        with self._changed:
            self._steps = None
            for backlog in self._backlog:
                backlog.clear()
            self._changed.notify_all()

    def _next(self, party: int) -> bytes | None:
        with self._changed:
            while not self._backlog[party] and not self._dealt:
                self._wait_for_other(party)
                self._deal_step()
            if not self._backlog[party]:
                if self._steps is None:
                    raise _ended()
                return None
            piece = self._backlog[party].popleft()
            self._waiting[party] -= len(piece)
            self._changed.notify_all()
        return piece

    def _wait_for_other(self, party: int) -> None:
        """Let the party that is behind catch up before more is dealt."""
        other = 1 - party
        if not self._changed.wait_for(
            lambda: self._steps is None or self._waiting[other] < self._backlog_bytes, self._patience_s
        ):
            raise DealerTimeout(
                f"party {other} not reading its material for {self._patience_s:g} s",
                expected="both parties at about the same place",
                remedy=f"Look for an error at party {other}.",
            )

    def _deal_step(self) -> None:
        if self._steps is None:
            raise _ended()
        step = next(self._steps, None)
        if step is None:
            self._dealt = True
            return
        for party, sent in enumerate(step.sent):
            if sent:
                self._backlog[party].append(sent)
                self._waiting[party] += len(sent)


def _ended() -> DealerLost:
    return DealerLost(
        "a lease that ended before its material did",
        expected="all parties to read their material in time",
        remedy="Retry; look for an error at the other party if it persists.",
    )
