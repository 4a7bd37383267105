"""No activation."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from mpcvit.models.kinds import Activation


class Identity(nn.Identity):
    """x: the MLP is one linear layer of rank ``hidden`` at most (MPCViT+'s linear fusion)."""

    kind: ClassVar[Activation] = Activation.IDENTITY
