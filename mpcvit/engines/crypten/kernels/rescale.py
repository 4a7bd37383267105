"""Fewer fractional bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import truncate, truncate_correlations, truncation_error, wrap_probability
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared
from mpcvit.ops import Op, Rescale, TensorType


class RescaleKernel(CryptenKernel[Rescale]):
    """Each party truncates its share: 0 rounds for 2 parties, 1 for more; may be off, or wrap silently."""

    runs: ClassVar[type[Op]] = Rescale

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return truncate_correlations(x.shape, parties)

    def run(self, session: Session, *inputs: Shared) -> Shared:
        (x,) = inputs
        return truncate(x, self.op.bits)

    def error(self, inputs: Sequence[TensorType], parties: int) -> int:
        return truncation_error(parties)

    def wrap_probability(self, inputs: Sequence[TensorType], parties: int) -> float:
        (x,) = inputs
        return x.size * wrap_probability(x.qtype.code_bound)
