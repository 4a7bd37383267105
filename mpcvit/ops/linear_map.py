"""The base of ops that are linear (or affine) maps: local on every engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch

from mpcvit.ops.bounds import Bounds
from mpcvit.ops.op import Op


class LinearMap(Op):
    """An op that each party can apply to its shares: local on every engine, exact."""

    @abstractmethod
    def linear(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the map without its constant, on a batch."""

    def bounds(self, *inputs: Bounds) -> Bounds:
        """Return the bounds of maps that subtract nothing; others override this."""
        lo, hi = (self.reference(*(end[None] for end in ends))[0] for ends in _ends(inputs))
        return Bounds(lo, hi)

    def reference(self, *inputs: torch.Tensor, rounding: torch.Tensor | None = None) -> torch.Tensor:
        return self.linear(*inputs)


def _ends(inputs: Sequence[Bounds]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [x.lo for x in inputs], [x.hi for x in inputs]
