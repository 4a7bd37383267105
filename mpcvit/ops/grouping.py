"""Candidates in groups: who meets whom in one level of a ranking, and whose place is kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from mpcvit.errors import ProgramError
from mpcvit.ops.types import TensorType


@dataclass(frozen=True)
class Grouping:
    """``count`` candidates in ``groups`` runs of neighbours whose sizes differ by at most one, larger groups first.

    Raises:
        ProgramError: a group would have less than two members.
    """

    count: int
    groups: int

    def __post_init__(self) -> None:
        if not 1 <= self.groups <= self.count // 2:
            raise ProgramError(
                f"{self.groups} groups of {self.count} candidates",
                expected="at least one group, and at least two candidates in each",
                remedy="Choose fewer groups at export.",
            )

    @classmethod
    def of(cls, op: str, x: TensorType, groups: int) -> Grouping:
        """Return the grouping of a vector's elements.

        Raises:
            ProgramError: x is not a vector, or too short.
        """
        if len(x.shape) != 1:
            raise ProgramError(f"{op} of {x}", expected="one axis", remedy="Reshape the input to a vector at export.")
        return cls(x.size, groups)

    @property
    def largest(self) -> int:
        """Members of the largest group."""
        return -(-self.count // self.groups)

    @property
    def pair_count(self) -> int:
        """Pairs of members of one group."""
        return sum(number * size * (size - 1) // 2 for number, size in self._kinds)

    def kept(self, top: int) -> int:
        """Return how many are left if every group keeps its first ``top``."""
        return sum(number * min(top, size) for number, size in self._kinds)

    @cached_property
    def pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions of both members of every pair, the earlier one first; group by group."""
        lefts, rights = [], []
        for start, number, size in self._runs:
            first, second = torch.triu_indices(size, size, offset=1)
            starts = start + size * torch.arange(number)[:, None]
            lefts.append((starts + first).reshape(-1))
            rights.append((starts + second).reshape(-1))
        return torch.cat(lefts), torch.cat(rights)

    def places(self, top: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return every (candidate, place) with a place below ``top``, and the position of the group's place in the
        result.
        """
        candidates, places, outputs = [], [], []
        kept = 0
        for start, number, size in self._runs:
            own = min(top, size)
            group = torch.arange(number)[:, None, None]
            place = torch.arange(own)[None, :, None].expand(number, own, size)
            candidates.append((start + size * group + torch.arange(size)).expand(number, own, size).reshape(-1))
            places.append(place.reshape(-1))
            outputs.append((kept + own * group + place).reshape(-1))
            kept += number * own
        return torch.cat(candidates), torch.cat(places), torch.cat(outputs)

    @property
    def _kinds(self) -> list[tuple[int, int]]:
        """(how many groups, members of each), larger ones first."""
        size, larger = divmod(self.count, self.groups)
        return [(number, members) for number, members in ((larger, size + 1), (self.groups - larger, size)) if number]

    @property
    def _runs(self) -> list[tuple[int, int, int]]:
        """(first candidate, how many groups, members of each)."""
        start, runs = 0, []
        for number, size in self._kinds:
            runs.append((start, number, size))
            start += number * size
        return runs
