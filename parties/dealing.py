"""Dealing one lease's material, for each engine, as streams of bytes that the parties read side by side."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import torch

from mpcvit.errors import DealerTimeout
from mpcvit.program.cost import stock_cost
from mpcvit.program.dealer import corrections
from mpcvit.program.fast_dealer import deal_plan
from mpcvit.program.plan import Plan
from mpcvit.program.program import Program
from mpcvit.ring.prg import SEED_BYTES

#: Bytes dealt ahead of the slower party.
_BACKLOG = 256 << 20


class Dealing(ABC):
    """The material of one lease."""

    @abstractmethod
    def material_bytes(self, party: int) -> int:
        """Length of a party's material, its seed apart."""

    @abstractmethod
    def stream(self, party: int) -> Iterator[bytes | memoryview]:
        """A party's material in the order of use, dealt as it is read."""


class StockDealing(Dealing):
    """Corrections of CrypTen's correlations, all for the last party."""

    def __init__(self, program: Program, seeds: Sequence[bytes]) -> None:
        self._program, self._seeds = program, seeds

    def material_bytes(self, party: int) -> int:
        return stock_cost(self._program, len(self._seeds)).total.material_bytes[party] - SEED_BYTES

    def stream(self, party: int) -> Iterator[bytes | memoryview]:
        if party == len(self._seeds) - 1:
            yield from corrections(self._program, self._seeds)


class FastDealing(Dealing):
    """A plan's material. Both parties read the same dealing: whoever is ahead deals the next step.

    Args:
        patience_s: how long the party that is ahead waits for the other.
    """

    def __init__(
        self,
        plan: Plan,
        session: bytes,
        seeds: Sequence[bytes],
        weights: Mapping[str, torch.Tensor],
        patience_s: float,
    ) -> None:
        self._plan = plan
        self._steps = deal_plan(plan, session, seeds, weights)
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._backlog: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self._waiting = [0, 0]
        self._dealt = False

    def material_bytes(self, party: int) -> int:
        return self._plan.material[party]

    def stream(self, party: int) -> Iterator[bytes | memoryview]:
        while (piece := self._next(party)) is not None:
            yield piece

    def _next(self, party: int) -> bytes | None:
        with self._changed:
            while not self._backlog[party]:
                if self._dealt:
                    return None
                if not self._changed.wait_for(lambda: self._waiting[1 - party] < _BACKLOG, self._patience_s):
                    raise DealerTimeout(
                        f"party {1 - party} not reading its material for {self._patience_s:g} s",
                        expected="both parties at about the same place",
                        remedy=f"Look for an error at party {1 - party}.",
                    )
                self._deal_step()
            piece = self._backlog[party].popleft()
            self._waiting[party] -= len(piece)
            self._changed.notify_all()
        return piece

    def _deal_step(self) -> None:
        step = next(self._steps, None)
        if step is None:
            self._dealt = True
            return
        for party, sent in enumerate(step.sent):
            if sent:
                self._backlog[party].append(sent)
                self._waiting[party] += len(sent)
