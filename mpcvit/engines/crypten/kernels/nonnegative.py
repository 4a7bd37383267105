"""The sign as a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import less_than_zero, less_than_zero_correlations
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared, shared
from mpcvit.ops import Nonnegative, Op, TensorType


class NonnegativeKernel(CryptenKernel[Nonnegative]):
    """A sign bit: 8 rounds for 2 parties."""

    runs: ClassVar[type[Op]] = Nonnegative

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return less_than_zero_correlations(x.shape, parties)

    def run(self, session: Session, *inputs: Shared) -> Shared:
        (x,) = inputs
        negative = less_than_zero(x, session.parties)
        return shared((1 if session.index == 0 else 0) - negative.share)
