"""ReLU."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from mpcvit.models.kinds import Activation


class Relu(nn.ReLU):
    """max(x, 0). Under MPC a comparison of every value."""

    kind: ClassVar[Activation] = Activation.RELU
