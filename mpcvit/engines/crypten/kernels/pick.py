"""The candidates with the first ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import (
    less_than_zero,
    less_than_zero_correlations,
    multiply,
    multiply_correlations,
)
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared, shared
from mpcvit.ops import Op, Pick, TensorType
from mpcvit.ops.grouping import Grouping
from mpcvit.ops.pick import gather


class PickKernel(CryptenKernel[Pick]):
    """One batch of comparisons (8 rounds for 2 parties), and a product if there are values."""

    runs: ClassVar[type[Op]] = Pick

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        count = inputs[0].size
        places, bounds = self.op.place_counts(count)
        consumed = less_than_zero_correlations((bounds, count), parties)
        return consumed + (multiply_correlations((places, count), (count,)) if len(inputs) == 2 else [])

    def run(self, session: Session, *inputs: Shared) -> Shared:
        ranks, *values = inputs
        count, one = ranks.share.shape[-1], 1 if session.index == 0 else 0
        places, bounds = self.op.place_counts(count)
        with session.step("compare"):
            distance = ranks.share - one * torch.arange(1, bounds + 1)[:, None]
            below = less_than_zero(shared(distance), session.parties).share  # [rank < 1], [rank < 2], ..
        if places > bounds:
            below = torch.cat([below, torch.full((1, count), one)])  # every rank is below the size of the group
        equal = below - torch.cat([torch.zeros((1, count), dtype=torch.int64), below[:-1]])
        if values:
            with session.step("select"):
                chosen = multiply(shared(equal), values[0]).share
        else:
            chosen = equal * torch.arange(count)
        candidates, place, outputs = Grouping(count, self.op.groups).places(self.op.top)
        counted = equal[place, candidates] if self.op.counted else None
        return shared(gather(chosen[place, candidates], outputs, counted))
