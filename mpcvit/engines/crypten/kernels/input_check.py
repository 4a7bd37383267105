"""The picture itself, once it is certain that it is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from mpcvit.engines.cost import Cost
from mpcvit.engines.crypten.correlations import ELEMENT_BYTES, Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.primitives import less_than_zero, less_than_zero_correlations
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared, shared
from mpcvit.ops import InputCheck, Op, TensorType
from mpcvit.ops.input_check import out_of_range


class InputCheckKernel(CryptenKernel[InputCheck]):
    """Two comparisons per code (8 rounds for 2 parties), and the opened number of codes outside (1 round)."""

    runs: ClassVar[type[Op]] = InputCheck

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        (x,) = inputs
        return less_than_zero_correlations((2, *x.shape), parties)

    def run(self, session: Session, *inputs: Shared) -> Shared:
        (x,) = inputs
        top = self.op.largest if session.index == 0 else 0
        with session.step("compare"):
            outside = less_than_zero(shared(torch.stack([x.share, top - x.share])), session.parties)
        own = outside.share.sum().reshape(1).numpy() + session.zero((1,))
        with session.step("count"):
            received = session.link.exchange(session.tag, own.tobytes())
        others = (np.frombuffer(received[peer], dtype=np.int64) for peer in session.link.others)
        if sum(others, start=own).any():
            raise out_of_range(self.op.bits)
        return x

    def cost(self, inputs: Sequence[TensorType], parties: int) -> Cost:
        (x,) = inputs
        count = Cost(1, (ELEMENT_BYTES * (parties - 1),) * parties, (0,) * parties, comparisons=2 * x.size)
        return super().cost(inputs, parties) + count
